"""What this dist offers."""

from collections.abc import Iterable

from transept_hookspecs import CacheSpec, hookimpl


@hookimpl
def provide_caches() -> Iterable[CacheSpec]:
    return [
        CacheSpec(
            key="quantized",
            cache="transept_quantized_cache.cache:make_quantized",
            description="int4 or int8: keys by channel, values by token (KIVI)",
        )
    ]
