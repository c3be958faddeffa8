"""What this dist offers."""

from collections.abc import Iterable

from transept_hookspecs import AttentionKernelSpec, hookimpl


@hookimpl
def provide_attention() -> Iterable[AttentionKernelSpec]:
    return [
        AttentionKernelSpec(
            key="flex_attention",
            kernel="transept_flex.kernel:flex_kernel",
            masks=frozenset({"causal", "bidirectional", "prefix", "sliding_window", "chunk", "keep", "documents", "bias"}),
            softcap=True,
            sinks=True,
            priority=-10,  # the first request of a shape is compiled, which takes seconds: by name alone
            description="torch's flex_attention; on the CPU compiled for inference only, as torch has no backward there",
        )
    ]
