"""What `transept-sentence` offers to `pipeline`."""

from collections.abc import Iterable

from transept_hookspecs import PipelineSpec, hookimpl


@hookimpl
def provide_pipelines() -> Iterable[PipelineSpec]:
    return [
        PipelineSpec(
            key="sentence-similarity",
            pipeline="transept_sentence.pipeline:SentenceSimilarityPipeline",
            task="base",
            description="how alike a sentence and others are in meaning",
        )
    ]
