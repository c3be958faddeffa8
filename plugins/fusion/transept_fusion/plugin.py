"""What this dist offers."""

from collections.abc import Iterable

from transept_hookspecs import RewriteSpec, hookimpl


@hookimpl
def provide_rewrites() -> Iterable[RewriteSpec]:
    return [
        RewriteSpec(
            key="fuse_projections",
            rewrite="transept_fusion.rewrite:fuse_projections",
            order=50,
            undoable=True,
            ties="keep",
            description="query, key and value projections become one linear, gate and up projections another",
        )
    ]
