"""What this dist offers."""

from collections.abc import Iterable

from transept_hookspecs import AttentionKernelSpec, CacheSpec, hookimpl


@hookimpl
def provide_attention() -> Iterable[AttentionKernelSpec]:
    return [
        AttentionKernelSpec(
            key="paged",
            kernel="transept_paged.kernel:paged_kernel",
            masks=frozenset({"causal", "bidirectional", "prefix", "sliding_window", "chunk", "keep", "documents", "bias"}),
            softcap=True,
            sinks=True,
            training=False,
            paged=True,
            priority=-20,  # over tensors it is sdpa by another name
            description="reads a paged cache where it stands: over views of it, or block by block",
        )
    ]


@hookimpl
def provide_caches() -> Iterable[CacheSpec]:
    return [
        CacheSpec(
            key="paged",
            cache="transept_paged.cache:make_paged",
            description="in blocks, which rows with the same beginning share",
        )
    ]
