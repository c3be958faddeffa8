"""The `transept` program: it imports the one command that was asked for, and turns errors into a paragraph."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from transept import __version__
from transept.discovery import load_object, registry
from transept.errors import PluginBlockedError, PluginError, PluginNotFoundError, TranseptError

from .console import err, say_error
from .plugin import provide_commands

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 well, 1 an error with the model or files, 2 a wrong request, 130 stopped."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    end = arguments.index("--") if "--" in arguments else len(arguments)
    debug = "--debug" in arguments[:end]
    arguments = [a for a in arguments[:end] if a != "--debug"] + arguments[end:]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a character shows another
    try:
        result = _app(arguments)(args=arguments, standalone_mode=True)
        return int(result or 0)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:
        err.print("Stopped.")
        return 130
    except BrokenPipeError:
        # the reader went away, as `| head` does; nothing is left to say, not even by the interpreter's last flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except PluginNotFoundError as error:
        say_error(error, debug)
        return 2
    except (TranseptError, OSError) as error:
        say_error(error, debug)
        return 1
    except Exception as error:
        say_error(error, debug, f"{type(error).__name__}: {error} (this one was not foreseen: --debug shows where)")
        return 1


def _app(arguments: Sequence[str]) -> typer.Typer:
    """The program with one command loaded, or with all of them as names when help is asked for."""
    app = typer.Typer(
        name="transept",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_program)
    named = next((a for a in arguments if not a.startswith("-")), None)
    if named is None:
        for key in registry.keys("commands"):
            _add(app, key, _placeholder, _help_of(key))
        return app
    try:
        record = registry.get("commands", named)
    except PluginBlockedError:
        # an allow-list that leaves this dist out leaves the commands that explain it
        record = next((own for own in provide_commands() if own.key == named), None)
        if record is None:
            raise
    command = load_object(record.command, owner=f"command {named}")
    _add(app, named, command, record.help)
    return app


def _add(app: typer.Typer, key: str, command: Any, text: str) -> None:
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=key, help=text)
    else:
        text = (command.__doc__ or text) if command is not _placeholder else text
        # a command that hands over to another program takes what is unknown here
        app.command(name=key, help=text, context_settings=getattr(command, "context_settings", None))(command)


def _help_of(key: str) -> str:
    try:
        return str(registry.get("commands", key).help)
    except PluginError as error:
        return f"(broken: {error})"


def _placeholder() -> None:
    """Stands for a command in the list of commands; choosing one loads the real one."""


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"transept {__version__}")
        raise typer.Exit()


def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")] = False,
) -> None:
    """A transformer library that you can take apart: every architecture and every optimisation is a plugin."""


def run() -> None:
    """The console script."""
    sys.exit(main())
