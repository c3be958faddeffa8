"""What this dist offers."""

from collections.abc import Iterable

from transept_hookspecs import RewriteSpec, hookimpl


@hookimpl
def provide_rewrites() -> Iterable[RewriteSpec]:
    return [
        RewriteSpec(
            key="matvec",
            rewrite="transept_matvec.rewrite:matvec",
            automatic="transept_matvec.rewrite:why_not",
            order=900,
            undoable=True,
            ties="keep",
            description="linear layers multiply a single row on all cores: faster decoding of one sequence on a CPU",
        )
    ]
