"""What `transept-vit` offers."""

from collections.abc import Iterable

from transept_hookspecs import ConfigSpec, ModelSpec, PipelineSpec, ProcessorSpec, hookimpl

CONFIG = "transept_vit.configuration:ViTConfig"


@hookimpl
def provide_configs() -> Iterable[ConfigSpec]:
    return [ConfigSpec(key="vit", config=CONFIG, description="the Vision Transformer")]


@hookimpl
def provide_models() -> Iterable[ModelSpec]:
    return [
        ModelSpec(
            key="vit",
            config=CONFIG,
            tasks={
                "base": "transept_vit.modeling:ViTModel",
                "image_classification": "transept_vit.heads:ViTForImageClassification",
                "masked_image_modeling": "transept_vit.heads:ViTForMaskedImageModeling",
            },
            processor="ViTImageProcessor",
            description="the Vision Transformer",
        )
    ]


@hookimpl
def provide_processors() -> Iterable[ProcessorSpec]:
    return [
        ProcessorSpec(
            key=key,
            processor="transept_vit.image_processing:ViTImageProcessor",
            kind="image_processor",
            description="resizes, rescales and normalises images",
        )
        for key in ("ViTImageProcessor", "ViTImageProcessorFast", "ViTImageProcessorPil", "ViTFeatureExtractor")
    ]


@hookimpl
def provide_pipelines() -> Iterable[PipelineSpec]:
    return [
        PipelineSpec(
            key="image-classification",
            pipeline="transept_vit.pipeline:ImageClassificationPipeline",
            task="image_classification",
            description="labels for an image",
        )
    ]
