"""What this dist offers."""

from collections.abc import Iterable

from transept_hookspecs import CacheSpec, hookimpl


@hookimpl
def provide_caches() -> Iterable[CacheSpec]:
    return [
        CacheSpec(
            key="offloaded",
            cache="transept_offloaded_cache.cache:make_offloaded",
            description="kept on the CPU, fetched one layer ahead",
        )
    ]
