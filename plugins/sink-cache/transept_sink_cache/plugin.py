"""What this dist offers."""

from collections.abc import Iterable

from transept_hookspecs import CacheSpec, hookimpl


@hookimpl
def provide_caches() -> Iterable[CacheSpec]:
    return [
        CacheSpec(
            key="sink",
            cache="transept_sink_cache.cache:make_sink",
            endless=True,
            description="the first tokens and a window of the last (StreamingLLM)",
        )
    ]
