"""What this dist offers."""

from collections.abc import Iterable

from transept_hookspecs import CommandSpec, hookimpl


@hookimpl
def provide_commands() -> Iterable[CommandSpec]:
    return [
        CommandSpec(
            key="quantize",
            command="transept_quantize.command:quantize",
            help="Quantize a checkpoint, with data where the method learns from some, and report size and perplexity.",
        )
    ]
