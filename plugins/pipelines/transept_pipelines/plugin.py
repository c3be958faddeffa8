"""The tasks of `transept-pipelines`. A task under a second name has a record of its own under that name."""

from collections.abc import Iterable

from transept_hookspecs import PipelineSpec, hookimpl

# key: class, the model's task, other names (as patterns too), one line
_TASKS = {
    "text-generation": ("text_generation:TextGenerationPipeline", "causal_lm", (), "continue a text or a chat"),
    "text-classification": (
        "text_classification:TextClassificationPipeline",
        "sequence_classification",
        ("sentiment-analysis",),
        "label a text",
    ),
    "token-classification": (
        "token_classification:TokenClassificationPipeline",
        "token_classification",
        ("ner",),
        "label the words of a text: names, parts of speech",
    ),
    "question-answering": (
        "question_answering:QuestionAnsweringPipeline",
        "question_answering",
        (),
        "find the answer to a question in a text",
    ),
    "fill-mask": ("fill_mask:FillMaskPipeline", "masked_lm", (), "what stands behind a mask"),
    "summarization": ("text2text:SummarizationPipeline", "seq2seq_lm", (), "shorten a text"),
    "translation": (
        "text2text:TranslationPipeline",
        "seq2seq_lm",
        ("translation_*_to_*",),
        "translate; `translation_en_to_de` names the languages",
    ),
    "text2text-generation": ("text2text:Text2TextGenerationPipeline", "seq2seq_lm", (), "a text out of a text"),
    "feature-extraction": ("feature_extraction:FeatureExtractionPipeline", "base", (), "the hidden states of a text"),
    "zero-shot-classification": (
        "zero_shot_classification:ZeroShotClassificationPipeline",
        "sequence_classification",
        (),
        "label a text with labels of your own, by a model of natural language inference",
    ),
}


@hookimpl
def provide_pipelines() -> Iterable[PipelineSpec]:
    records = []
    for key, (pipeline, task, aliases, description) in _TASKS.items():
        record = PipelineSpec(
            key=key, pipeline=f"transept_pipelines.{pipeline}", task=task, aliases=aliases, description=description
        )
        names = (alias for alias in aliases if "*" not in alias)
        records += [record, *(record.model_copy(update={"key": alias, "aliases": ()}) for alias in names)]
    return records
