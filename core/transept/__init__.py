"""transept: a transformer library as a plugin host.

`from transept import X` finds X among the core's names below, then among those that installed plugins offer in the entry-point
group `transept.api`. Importing transept loads nothing else; a name loads the module that it lives in when it is used.

- `dir(transept)` and `"X" in dir(transept)` import nothing.
- `transept.X` and `hasattr(transept, "X")` import the one module that owns X, in the core or in the one plugin that offers it,
  and no other plugin. They raise nothing but AttributeError, so that `hasattr` is False where the owner is broken.
- `from transept import X` raises ImportError with the real cause in its text.
- `from transept import *` takes every name, and imports every plugin that offers one: for an interactive session.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .attention import *  # noqa: F403
    from .auto import *  # noqa: F403
    from .cache import *  # noqa: F403
    from .configuration import *  # noqa: F403
    from .discovery import registry as registry
    from .errors import *  # noqa: F403
    from .generation import *  # noqa: F403
    from .model import *  # noqa: F403
    from .outputs import *  # noqa: F403
    from .seed import *  # noqa: F403

__version__ = "0.1.0"

_ROOMS = {
    "attention": "MaskSpec",
    "auto": """AutoConfig AutoFeatureExtractor AutoImageProcessor AutoModel AutoModelForAudioClassification
        AutoModelForAudioFrameClassification AutoModelForAudioTokenization AutoModelForAudioXVector AutoModelForCausalLM
        AutoModelForCTC AutoModelForDecision AutoModelForDepthEstimation AutoModelForDocumentQuestionAnswering
        AutoModelForImageClassification AutoModelForImageMatting AutoModelForImageSegmentation AutoModelForImageTextToText
        AutoModelForImageToImage AutoModelForInstanceSegmentation AutoModelForKeypointDetection AutoModelForKeypointMatching
        AutoModelForMaskedImageModeling AutoModelForMaskedLM AutoModelForMaskGeneration AutoModelForMultimodalLM
        AutoModelForMultipleChoice AutoModelForNextSentencePrediction AutoModelForNormalEstimation AutoModelForObjectDetection
        AutoModelForPointmapEstimation AutoModelForPoseEstimation AutoModelForPreTraining AutoModelForQuestionAnswering
        AutoModelForRNNT AutoModelForSemanticSegmentation AutoModelForSeq2SeqLM AutoModelForSequenceClassification
        AutoModelForSpeechSeq2Seq AutoModelForTableQuestionAnswering AutoModelForTableRecognition AutoModelForTDT
        AutoModelForTextEncoding AutoModelForTextRecognition AutoModelForTextToSpectrogram AutoModelForTextToWaveform
        AutoModelForTimeSeriesPrediction AutoModelForTokenClassification AutoModelForUniversalSegmentation
        AutoModelForVideoClassification AutoModelForVisualQuestionAnswering AutoModelForZeroShotImageClassification
        AutoModelForZeroShotObjectDetection AutoProcessor AutoTokenizer""",
    "cache": "Cache DynamicCache EncoderDecoderCache StaticCache",
    "configuration": "PretrainedConfig PreTrainedConfig",
    "discovery": "registry",
    "errors": """AttentionError CacheError ChatTemplateError CheckpointError CheckpointNotFoundError ConfigError
        CorruptFileError DuplicatePluginError GenerationError InputError MissingTensorsError PlacementError PluginBlockedError
        PluginError PluginImportError PluginNotFoundError PluginRecordError PluginVersionError QuantizationError RewriteError
        SaveError ShapeMismatchError TokenizerError TranseptError UnexpectedTensorsError UnknownArgumentError UnsafePathError
        UnsupportedTaskError""",
    "generation": """AsyncTextIteratorStreamer BaseStreamer ClassifierFreeGuidanceLogitsProcessor
        EncoderNoRepeatNGramLogitsProcessor EncoderRepetitionPenaltyLogitsProcessor EosTokenCriteria EpsilonLogitsWarper
        EtaLogitsWarper ExponentialDecayLengthPenalty ForcedBOSTokenLogitsProcessor ForcedEOSTokenLogitsProcessor
        GenerationConfig GenerationMixin GenerationSession InfNanRemoveLogitsProcessor LogitNormalization LogitsProcessor
        LogitsProcessorList MaxLengthCriteria MaxTimeCriteria MinLengthLogitsProcessor MinNewTokensLengthLogitsProcessor
        MinPLogitsWarper NoBadWordsLogitsProcessor NoRepeatNGramLogitsProcessor PrefixConstrainedLogitsProcessor
        RepetitionPenaltyLogitsProcessor SequenceBiasLogitsProcessor StoppingCriteria StoppingCriteriaList StopStringCriteria
        SuppressTokensAtBeginLogitsProcessor SuppressTokensLogitsProcessor TemperatureLogitsWarper TextIteratorStreamer
        TextStreamer TopHLogitsWarper TopKLogitsWarper TopPLogitsWarper TypicalLogitsWarper
        UnbatchedClassifierFreeGuidanceLogitsProcessor""",
    "model": "PreTrainedModel",
    "outputs": """BaseModelOutput BaseModelOutputWithCrossAttentions BaseModelOutputWithPast
        BaseModelOutputWithPastAndCrossAttentions BaseModelOutputWithPooling BaseModelOutputWithPoolingAndCrossAttentions
        CausalLMOutput CausalLMOutputWithCrossAttentions CausalLMOutputWithPast GenerateBeamDecoderOnlyOutput
        GenerateBeamEncoderDecoderOutput GenerateDecoderOnlyOutput GenerateEncoderDecoderOutput ImageClassifierOutput
        MaskedLMOutput ModelOutput MultipleChoiceModelOutput NextSentencePredictorOutput QuestionAnsweringModelOutput
        Seq2SeqLMOutput Seq2SeqModelOutput Seq2SeqQuestionAnsweringModelOutput Seq2SeqSequenceClassifierOutput
        SequenceClassifierOutput SequenceClassifierOutputWithPast TokenClassifierOutput""",
    "seed": "set_seed",
}
_NAMES = {name: f"transept.{room}:{name}" for room, names in _ROOMS.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    import sys

    if name == "__all__":
        from .discovery import registry

        return sorted({*_NAMES, *registry.public_names()})
    if name.startswith("_"):  # probes of tools; no public name looks like that
        raise AttributeError(f"`transept` has no `{name}`")
    try:
        found = _resolve(name)
    except Exception as error:
        # `from transept import X` asks with `hasattr` first, and would drop what an AttributeError says.
        asking = sys._getframe(1).f_code
        if asking.co_name == "_handle_fromlist" and asking.co_filename.startswith("<frozen importlib"):
            from .errors import PluginImportError

            if isinstance(error, PluginImportError):
                raise
            raise PluginImportError(str(error), name=__name__) from error
        raise AttributeError(str(error)) from error
    if name in _NAMES:
        globals()[name] = found
    return found


def _resolve(name: str) -> Any:
    from importlib import import_module
    from importlib.util import find_spec

    from .discovery import load_object, registry
    from .discovery.known import known_dist
    from .errors import PluginNotFoundError, did_you_mean

    if name in _NAMES:
        return load_object(_NAMES[name], owner=f"`transept` {__version__}")
    if find_spec(f"transept.{name}") is not None:
        return import_module(f"transept.{name}")
    try:
        return registry.public_name(name)
    except PluginNotFoundError as error:
        dist = known_dist("api", name)
        hint = f" Install it with: pip install {dist}" if dist else did_you_mean(name, __dir__())
        raise PluginNotFoundError(f"`transept` has no `{name}`, and no installed plugin offers it.{hint}", name=name) from error


def __dir__() -> list[str]:
    from .discovery import registry

    return sorted({*globals(), *_NAMES, *(entry.key for entry in registry.entries("api"))})
