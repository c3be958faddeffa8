"""What this dist offers."""

from collections.abc import Iterable

from transept_hookspecs import AdapterSpec, hookimpl


@hookimpl
def provide_adapters() -> Iterable[AdapterSpec]:
    return [
        AdapterSpec(
            key="peft",
            adapters="transept_peft.adapters:Adapters",
            description="LoRA, DoRA, IA3 and others of the peft library, several at once",
        )
    ]
