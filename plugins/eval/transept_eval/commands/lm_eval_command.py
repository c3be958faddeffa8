"""`transept lm-eval`: EleutherAI's evaluation harness, on a model that is loaded here."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from transept.errors import InputError

__all__ = ["lm_eval_command"]

_OWN_COMMANDS = ("ls", "validate")


def lm_eval_command(
    context: typer.Context,
    model: Annotated[
        str, typer.Argument(help="A model, as everywhere; or `ls` or `validate`, which are the harness's own commands.")
    ],
) -> None:
    """Run EleutherAI's evaluation harness (lm-eval) on a model.

    All that follows the model goes to `lm-eval run` as it is: --tasks, --num_fewshot, --limit, --batch_size, --device,
    --output_path, --apply_chat_template, … `--model_args` holds further keywords for loading: dtype, attn_implementation, rewrites.
    A task is the name of one that the harness brings, or a YAML file of your own.
    """
    arguments = list(context.args)
    if model.startswith("-"):
        raise typer.BadParameter(f"the model comes first, and here it is `{model}`: put it before the harness's own options.")
    if model in _OWN_COMMANDS:
        _hand_over([model, *arguments])
        return
    taken = next((each for each in arguments if each in ("--model", "-M") or each.startswith("--model=")), None)
    if taken is not None:
        raise typer.BadParameter(f"the model is `{model}`, the first argument: leave {taken} out.")
    if "," in model:
        raise InputError(f"The harness cannot pass on `{model}`, for a comma ends an argument there: rename the folder.")
    _hand_over(["run", "--model", "transept", "--model_args", f"pretrained={model}", *arguments])


# what is unknown here is the harness's
lm_eval_command.context_settings = {"ignore_unknown_options": True, "allow_extra_args": True}  # type: ignore[attr-defined]


def _hand_over(arguments: list[str]) -> None:
    """Run the harness's command line, with our model class in its table."""
    from ..harness import register

    register()
    from lm_eval.__main__ import cli_evaluate

    before: Any = sys.argv
    sys.argv = ["lm-eval", *arguments]
    try:
        cli_evaluate()
    finally:
        sys.argv = before
