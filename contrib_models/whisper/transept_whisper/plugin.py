"""What `transept-whisper` offers."""

from collections.abc import Iterable

from transept_hookspecs import ConfigSpec, ModelSpec, PipelineSpec, ProcessorSpec, TokenizerSpec, hookimpl

CONFIG = "transept_whisper.configuration:WhisperConfig"


@hookimpl
def provide_configs() -> Iterable[ConfigSpec]:
    return [ConfigSpec(key="whisper", config=CONFIG, description="Whisper, and models of its shape")]


@hookimpl
def provide_models() -> Iterable[ModelSpec]:
    return [
        ModelSpec(
            key="whisper",
            config=CONFIG,
            tasks={
                "base": "transept_whisper.modeling:WhisperModel",
                "pretraining": "transept_whisper.modeling:WhisperForConditionalGeneration",
                "speech_seq2seq": "transept_whisper.modeling:WhisperForConditionalGeneration",
                "causal_lm": "transept_whisper.heads:WhisperForCausalLM",
                "audio_classification": "transept_whisper.heads:WhisperForAudioClassification",
            },
            tokenizer="WhisperTokenizer",
            processor="WhisperProcessor",
            description="Whisper, and models of its shape",
        )
    ]


@hookimpl
def provide_tokenizers() -> Iterable[TokenizerSpec]:
    return [
        TokenizerSpec(
            key=key,
            tokenizer="transept_whisper.tokenization:WhisperTokenizerFast",
            description="Byte-level BPE with languages, tasks and timestamps, from tokenizer.json, or vocab.json and merges.txt",
        )
        for key in ("WhisperTokenizer", "WhisperTokenizerFast")
    ]


@hookimpl
def provide_processors() -> Iterable[ProcessorSpec]:
    return [
        ProcessorSpec(
            key="WhisperFeatureExtractor",
            processor="transept_whisper.feature_extraction:WhisperFeatureExtractor",
            kind="feature_extractor",
            description="log-mel spectrograms of 30 seconds",
        ),
        ProcessorSpec(
            key="WhisperProcessor",
            processor="transept_whisper.processing:WhisperProcessor",
            kind="processor",
            description="Whisper's feature extractor and tokenizer as one",
        ),
    ]


@hookimpl
def provide_pipelines() -> Iterable[PipelineSpec]:
    return [
        PipelineSpec(
            key="automatic-speech-recognition",
            pipeline="transept_whisper.pipeline:AutomaticSpeechRecognitionPipeline",
            task="speech_seq2seq",
            description="the text of a recording",
        )
    ]
