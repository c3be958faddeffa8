"""The auto classes: the door for people. Each finds the one plugin that serves a checkpoint and hands over to it."""

from __future__ import annotations

import os
from typing import Any, ClassVar

from .adapters import adapted_base
from .checkpoints.pretrained import LoadOptions
from .configuration import PretrainedConfig
from .discovery import load_object, registry
from .errors import ConfigError, TokenizerError, UnknownArgumentError, UnsupportedTaskError, shorten
from .files import Location, open_location

_LOCATION_OPTIONS = ("revision", "subfolder", "cache_dir", "token", "local_files_only", "force_download")


def _open(name: str | os.PathLike[str] | Location, arguments: dict[str, Any]) -> Location:
    """Open the location, taking the keywords that say where it is out of `arguments`."""
    if arguments.pop("trust_remote_code", False):
        LoadOptions.split({"trust_remote_code": True})
    where = {key: arguments.pop(key) for key in _LOCATION_OPTIONS if key in arguments}
    return open_location(name, **where, file=arguments.pop("gguf_file", None))


class _Register:
    """Classes that a program adds by hand, in force for this process; they come before installed plugins."""

    def __init__(self) -> None:
        self.configs: dict[str, type[PretrainedConfig]] = {}
        self.models: dict[tuple[str, type[PretrainedConfig]], type[Any]] = {}
        self.tokenizers: dict[type[PretrainedConfig], type[Any]] = {}


_registered = _Register()


class _OnlyDoor:
    """An auto class has no instances."""

    def __init__(self, *_: Any, **__: Any) -> None:
        name = type(self).__name__
        raise TypeError(f"`{name}` is not built directly: call `{name}.from_pretrained(...)`.")


def config_class(model_type: str) -> type[PretrainedConfig]:
    """The configuration class for a `model_type`: registered by hand, or a plugin's.

    Raises:
        PluginNotFoundError: no installed plugin provides it; the message says which wheel to install.
    """
    if model_type in _registered.configs:
        return _registered.configs[model_type]
    record = registry.find("configs", model_type) or registry.get("models", model_type)
    found: type[PretrainedConfig] = load_object(record.config, owner=registry.owner("models", model_type))
    return found


class AutoConfig(_OnlyDoor):
    """Finds the configuration class that a checkpoint's `model_type` names."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str] | Location, **kwargs: Any) -> Any:
        """The checkpoint's configuration; keywords override its fields, unknown ones are refused."""
        location = _open(pretrained_model_name_or_path, kwargs)
        values, _ = PretrainedConfig.get_config_dict(location)
        return config_class(_model_type(values, location)).from_pretrained(location, **kwargs)

    @classmethod
    def for_model(cls, model_type: str, **kwargs: Any) -> PretrainedConfig:
        """A configuration of that `model_type` with the given fields."""
        return config_class(model_type)(**kwargs)

    @classmethod
    def register(cls, model_type: str, config: type[PretrainedConfig], exist_ok: bool = False) -> None:
        """Use `config` for `model_type` in this process. A dist does the same with a `transept.configs` entry point."""
        if config.model_type != model_type:
            raise ConfigError(
                f"`{config.__name__}.model_type` is `{config.model_type}`, and it is registered as `{model_type}`."
            )
        if not exist_ok and (model_type in _registered.configs or model_type in registry.keys("configs")):
            raise ConfigError(f"`{model_type}` is taken already: pass `exist_ok=True` to use yours in this process.")
        _registered.configs[model_type] = config


def _model_type(values: dict[str, Any], location: Location) -> str:
    model_type = values.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        raise ConfigError(
            f"`{location.name}`: its config has no `model_type`, so no plugin can be chosen. Add it, or use the model's own class."
        )
    return model_type


class _AutoModel(_OnlyDoor):
    """One task: finds the class that an architecture has for it."""

    task: ClassVar[str]

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str] | Location, *model_args: Any, **kwargs: Any
    ) -> Any:
        """Load a checkpoint into the architecture's class for this task; see `PreTrainedModel.from_pretrained`."""
        where = {key: kwargs.pop(key) for key in (*_LOCATION_OPTIONS, "gguf_file") if key in kwargs}
        location = _open(pretrained_model_name_or_path, {**where, "trust_remote_code": kwargs.pop("trust_remote_code", False)})
        config = kwargs.get("config")
        if not isinstance(config, PretrainedConfig):
            base = adapted_base(location)
            named: Any = config if config is not None else base
            source = _open(named, {}) if named is not None else location
            values, _ = PretrainedConfig.get_config_dict(source)
            kind = config_class(_model_type(values, source))
            kwargs["config"] = source if base is None else kind.from_pretrained(source)
        else:
            kind = type(config)
        return cls._class_for(kind).from_pretrained(location, *model_args, **kwargs)

    @classmethod
    def from_config(cls, config: PretrainedConfig, **kwargs: Any) -> Any:
        """A model with freshly initialised weights."""
        LoadOptions.split({"trust_remote_code": kwargs.pop("trust_remote_code", False)})
        return cls._class_for(type(config)).from_config(config, **kwargs)

    @classmethod
    def register(cls, config: type[PretrainedConfig], model: type[Any], exist_ok: bool = False) -> None:
        """Use `model` for this task and configuration class in this process. A dist does the same with a `transept.models` entry point."""
        declared = getattr(model, "config_class", None)
        if declared is not None and declared is not config:
            raise ConfigError(
                f"`{model.__name__}` is made for `{declared.__name__}`, and it is registered for `{config.__name__}`."
            )
        if not exist_ok and (cls.task, config) in _registered.models:
            raise ConfigError(
                f"`{config.__name__}` has a model for `{cls.__name__}` already: pass `exist_ok=True` to replace it."
            )
        _registered.models[cls.task, config] = model

    @classmethod
    def _class_for(cls, config: type[PretrainedConfig]) -> Any:
        by_hand = _registered.models.get((cls.task, config))
        if by_hand is not None:
            return by_hand
        spec = registry.get("models", config.model_type)
        owner = registry.owner("models", config.model_type)
        if cls.task not in spec.tasks:
            doors = sorted(_TASKS[task] for task in spec.tasks if task in _TASKS)
            raise UnsupportedTaskError(
                f"`{config.model_type}` ({owner}) has no class for `{cls.__name__}`. It has {shorten(doors, 12)}.",
                task=cls.task,
            )
        return load_object(spec.tasks[cls.task], owner=owner)


_TASKS: dict[str, str] = {"base": "AutoModel"}
"""Task key in `ModelSpec.tasks` to the auto class's name."""

for _suffix, _task in {
    "ForPreTraining": "pretraining",
    "ForCausalLM": "causal_lm",
    "ForMaskedLM": "masked_lm",
    "ForSeq2SeqLM": "seq2seq_lm",
    "ForSequenceClassification": "sequence_classification",
    "ForTokenClassification": "token_classification",
    "ForQuestionAnswering": "question_answering",
    "ForMultipleChoice": "multiple_choice",
    "ForNextSentencePrediction": "next_sentence_prediction",
    "ForTableQuestionAnswering": "table_question_answering",
    "ForTextEncoding": "text_encoding",
    "ForDecision": "decision",
    "ForImageClassification": "image_classification",
    "ForZeroShotImageClassification": "zero_shot_image_classification",
    "ForImageSegmentation": "image_segmentation",
    "ForSemanticSegmentation": "semantic_segmentation",
    "ForInstanceSegmentation": "instance_segmentation",
    "ForUniversalSegmentation": "universal_segmentation",
    "ForObjectDetection": "object_detection",
    "ForZeroShotObjectDetection": "zero_shot_object_detection",
    "ForDepthEstimation": "depth_estimation",
    "ForNormalEstimation": "normal_estimation",
    "ForPointmapEstimation": "pointmap_estimation",
    "ForPoseEstimation": "pose_estimation",
    "ForImageMatting": "image_matting",
    "ForImageToImage": "image_to_image",
    "ForMaskedImageModeling": "masked_image_modeling",
    "ForMaskGeneration": "mask_generation",
    "ForKeypointDetection": "keypoint_detection",
    "ForKeypointMatching": "keypoint_matching",
    "ForVideoClassification": "video_classification",
    "ForTextRecognition": "text_recognition",
    "ForTableRecognition": "table_recognition",
    "ForAudioClassification": "audio_classification",
    "ForAudioFrameClassification": "audio_frame_classification",
    "ForAudioXVector": "audio_xvector",
    "ForAudioTokenization": "audio_tokenization",
    "ForCTC": "ctc",
    "ForRNNT": "rnnt",
    "ForTDT": "tdt",
    "ForSpeechSeq2Seq": "speech_seq2seq",
    "ForTextToSpectrogram": "text_to_spectrogram",
    "ForTextToWaveform": "text_to_waveform",
    "ForImageTextToText": "image_text_to_text",
    "ForMultimodalLM": "multimodal_lm",
    "ForVisualQuestionAnswering": "visual_question_answering",
    "ForDocumentQuestionAnswering": "document_question_answering",
    "ForTimeSeriesPrediction": "time_series_prediction",
}.items():
    _TASKS[_task] = f"AutoModel{_suffix}"

for _task, _name in _TASKS.items():
    globals()[_name] = type(_name, (_AutoModel,), {"task": _task, "__module__": __name__, "__doc__": _AutoModel.__doc__})


def task_door(task: str) -> str:
    """Name of the auto class for a task: `causal_lm` gives `AutoModelForCausalLM`."""
    return _TASKS[task]


def known_tasks() -> list[str]:
    """Every task that has an auto class."""
    return list(_TASKS)


class AutoTokenizer(_OnlyDoor):
    """Finds the tokenizer of a checkpoint: by the class that it names, by its `model_type`, or by the files that are there."""

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str] | Location, *, use_fast: bool = True, **kwargs: Any
    ) -> Any:
        """The checkpoint's tokenizer; keywords override its settings, unknown ones are refused.

        Raises:
            TokenizerError: nothing installed reads the files that are there; the message lists what was tried.
        """
        location = _open(pretrained_model_name_or_path, kwargs)
        by_hand, spec = cls._choose(location, use_fast)
        if by_hand is not None:
            return by_hand.from_pretrained(location, **kwargs)
        return load_object(spec.tokenizer, owner=registry.owner("tokenizers", spec.key)).from_pretrained(location, **kwargs)

    @classmethod
    def register(cls, config: type[PretrainedConfig], tokenizer: type[Any], exist_ok: bool = False) -> None:
        """Use `tokenizer` for checkpoints of that configuration class in this process."""
        if not exist_ok and config in _registered.tokenizers:
            raise TokenizerError(f"`{config.__name__}` has a tokenizer already: pass `exist_ok=True` to replace it.")
        _registered.tokenizers[config] = tokenizer

    @classmethod
    def _choose(cls, location: Location, use_fast: bool) -> tuple[Any, Any]:
        from fnmatch import fnmatchcase

        from .files import read_json

        settings: Any = {}
        found = location.fetch("tokenizer_config.json")
        if found is not None:
            settings = read_json(found)
        named = settings.get("tokenizer_class") if isinstance(settings, dict) else None
        model_type, spec = cls._model_record(location)
        by_hand = _registered.tokenizers.get(_registered.configs[model_type]) if model_type in _registered.configs else None
        if by_hand is not None:
            return by_hand, None
        family = spec.tokenizer if spec is not None else None
        tried: list[str] = []
        for key in _spellings(named, use_fast) + _spellings(family, use_fast):
            record = registry.find("tokenizers", key)
            if record is not None:
                return None, record
            tried.append(key)
        files = location.names()
        readers = sorted(registry.records("tokenizers"), key=lambda record: -record.priority)
        for record in readers:
            if any(fnmatchcase(file, pattern) for file in files for pattern in record.files):
                return None, record
        wanted = sorted({pattern for record in readers for pattern in record.files})
        known = [
            file for file in files if file in ("tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json", "spiece.model")
        ]
        raise TokenizerError(
            f"`{location.name}`: no installed plugin makes its tokenizer. "
            + (f"It names {shorten(tried)}. " if tried else "")
            + (f"It has {shorten(known)}; " if known else "It has no tokenizer files; ")
            + (f"installed backends read {shorten(wanted)}. " if wanted else "no tokenizer backend is installed. ")
            + ("pip install transept-tokenizers" if "tokenizer.json" in known and "tokenizer.json" not in wanted else ""),
        )

    @classmethod
    def _model_record(cls, location: Location) -> tuple[str | None, Any]:
        """The checkpoint's `model_type` and its record, where there is a config and the plugin is installed."""
        if location.fetch("config.json") is None:
            return None, None
        values, _ = PretrainedConfig.get_config_dict(location)
        model_type = values.get("model_type")
        return model_type, registry.find("models", model_type) if isinstance(model_type, str) and model_type else None


def _spellings(name: Any, use_fast: bool) -> list[str]:
    """A tokenizer class under both names that checkpoints use for it, the wanted kind first."""
    if not isinstance(name, str) or not name:
        return []
    plain = name.removesuffix("Fast")
    return [f"{plain}Fast", plain] if use_fast else [plain, f"{plain}Fast"]


class _AutoProcessor(_OnlyDoor):
    """Finds the processor that a checkpoint names, or that its family uses."""

    kinds: ClassVar[tuple[str, ...]]
    files: ClassVar[tuple[str, ...]] = ("processor_config.json", "preprocessor_config.json")
    fields: ClassVar[tuple[str, ...]]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str] | Location, **kwargs: Any) -> Any:
        """The checkpoint's processor; keywords override its settings."""
        from .files import read_json

        location = _open(pretrained_model_name_or_path, kwargs)
        keys: list[str] = []
        for file in cls.files:
            found = location.fetch(file)
            settings = read_json(found) if found is not None else {}
            if isinstance(settings, dict):
                parts = [settings, *(part for part in settings.values() if isinstance(part, dict))]
                keys += [part[name] for name in cls.fields for part in parts if isinstance(part.get(name), str)]
        _, spec = AutoTokenizer._model_record(location)
        if spec is not None and spec.processor is not None:
            keys.append(spec.processor)
            family = registry.find("processors", spec.processor)
            if family is not None and family.kind == "processor" and family.kind not in cls.kinds:  # its parts are the family's
                joined = load_object(family.processor, owner=registry.owner("processors", spec.processor))
                keys += [key for part in joined.parts.values() for key in part]
        for key in keys:
            record = registry.find("processors", key)
            if record is not None and record.kind in cls.kinds:
                return load_object(record.processor, owner=registry.owner("processors", key)).from_pretrained(
                    location, **kwargs
                )
        if keys:
            registry.get("processors", keys[0])
        raise UnknownArgumentError(
            f"`{location.name}` names no processor that `{cls.__name__}` could make: it has no {shorten(cls.files)}."
        )


class AutoFeatureExtractor(_AutoProcessor):
    """Finds the feature extractor (audio) of a checkpoint."""

    kinds = ("feature_extractor",)
    fields = ("feature_extractor_type",)


class AutoImageProcessor(_AutoProcessor):
    """Finds the image processor of a checkpoint."""

    kinds = ("image_processor",)
    fields = ("image_processor_type", "feature_extractor_type")


class AutoProcessor(_AutoProcessor):
    """Finds the processor of a checkpoint: one that joins several, or the only one it has."""

    kinds = ("processor", "feature_extractor", "image_processor")
    fields = ("processor_class", "feature_extractor_type", "image_processor_type")


__all__ = [  # noqa: PLE0604
    "AutoConfig",
    "AutoFeatureExtractor",
    "AutoImageProcessor",
    "AutoProcessor",
    "AutoTokenizer",
    *sorted(_TASKS.values()),
]
