"""What this dist offers."""

from collections.abc import Iterable

from transept_hookspecs import DecodingSpec, hookimpl


@hookimpl
def provide_decoding() -> Iterable[DecodingSpec]:
    return [
        DecodingSpec(
            key="beam_search",
            decode="transept_beam.search:beam_search",
            description="the likeliest of several texts that grow side by side",
        ),
        DecodingSpec(
            key="beam_sample",
            decode="transept_beam.search:beam_sample",
            description="several texts that grow side by side, with tokens drawn from the distribution",
        ),
    ]
