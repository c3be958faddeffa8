"""The core's own plugins. They come through the same hooks and entry points as anybody's; there is no private door."""

from collections.abc import Iterable

from transept_hookspecs import (
    AttentionKernelSpec,
    CacheSpec,
    CheckpointFormatSpec,
    DecodingSpec,
    QuantizerSpec,
    SourceSpec,
    hookimpl,
)


@hookimpl
def provide_sources() -> Iterable[SourceSpec]:
    return [
        SourceSpec(
            key="dir", open="transept.files.sources:open_directory", order=0, description="a folder or file on this machine"
        ),
        SourceSpec(
            key="hub", open="transept.files.sources:open_hub", order=100, description="the Hugging Face hub and its cache"
        ),
    ]


@hookimpl
def provide_checkpoints() -> Iterable[CheckpointFormatSpec]:
    return [
        CheckpointFormatSpec(
            key="safetensors",
            open="transept.checkpoints.safetensors_format:open_safetensors",
            suffixes=(".safetensors",),
            priority=100,
            description="safetensors, one file or sharded with an index",
        )
    ]


@hookimpl
def provide_quantizers() -> Iterable[QuantizerSpec]:
    return [
        QuantizerSpec(
            key="mixed",
            config="transept.quantization:MixedConfig",
            rewrite="transept.quantization:mixed_rewrites",
            description="several quantizers in one model, by patterns of the modules' paths",
        )
    ]


@hookimpl
def provide_attention() -> Iterable[AttentionKernelSpec]:
    every_mask = frozenset({"causal", "bidirectional", "prefix", "sliding_window", "chunk", "keep", "documents", "bias"})
    return [
        AttentionKernelSpec(
            key="eager",
            kernel="transept.attention.eager:eager_attention",
            masks=every_mask,
            dropout=True,
            weights=True,
            softcap=True,
            sinks=True,
            priority=0,
            description="the reference: matrix products and a softmax, everything supported",
        ),
        AttentionKernelSpec(
            key="sdpa",
            kernel="transept.attention.sdpa:sdpa_attention",
            masks=every_mask,
            dropout=True,
            priority=50,
            description="torch.nn.functional.scaled_dot_product_attention",
        ),
    ]


@hookimpl
def provide_caches() -> Iterable[CacheSpec]:
    return [
        CacheSpec(key="dynamic", cache="transept.cache:make_dynamic", description="grows as tokens come"),
        CacheSpec(
            key="static", cache="transept.cache:make_static", fixed_size=True, description="allocated once, in powers of two"
        ),
    ]


@hookimpl
def provide_decoding() -> Iterable[DecodingSpec]:
    return [
        DecodingSpec(key="greedy", decode="transept.generation.strategies:greedy", description="the likeliest token each time"),
        DecodingSpec(key="sample", decode="transept.generation.strategies:sample", description="drawn from the distribution"),
    ]
