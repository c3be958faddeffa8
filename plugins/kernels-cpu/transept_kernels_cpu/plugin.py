"""What this dist offers."""

from collections.abc import Iterable

from transept_hookspecs import RewriteSpec, hookimpl


@hookimpl
def provide_rewrites() -> Iterable[RewriteSpec]:
    return [
        RewriteSpec(
            key="kernels_cpu",
            rewrite="transept_kernels_cpu.rewrite:kernels_cpu",
            automatic="transept_kernels_cpu.rewrite:why_not",
            order=900,
            undoable=True,
            ties="keep",
            description="packed weights are multiplied on a CPU as they are, by native code",
        )
    ]
