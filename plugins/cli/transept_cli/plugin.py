"""The commands that come with the command line."""

from collections.abc import Iterable

from transept_hookspecs import CommandSpec, hookimpl

_COMMANDS = {
    "generate": "Continue a prompt, or answer it with --chat; the text streams as it comes.",
    "chat": "Talk with a model in the terminal.",
    "info": "Show what a checkpoint is: architecture, parameters, memory, plugins that serve it.",
    "explain": "Show which plugin, kernel and rewrite is chosen for each role, and why the others are not.",
    "convert": "Write any readable checkpoint as config, tokenizer and safetensors, which the peer opens too.",
    "plugins": "List the installed plugins: kind, key, dist, version, status.",
    "doctor": "Say what is broken, and how to mend it.",
}


@hookimpl
def provide_commands() -> Iterable[CommandSpec]:
    return [CommandSpec(key=key, command=f"transept_cli.{key}:{key}", help=text) for key, text in _COMMANDS.items()]
