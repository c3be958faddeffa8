"""`transept train`: a run from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["train"]


def train(
    config: Annotated[Path, typer.Argument(help="The YAML file: model, task, data, training.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, and train nothing.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest whole checkpoint.")] = False,
) -> None:
    """Train as a YAML file says; --dry-run prints the plan: steps, memory, kernels, rewrites.

    The trained model is left in the output folder, beside the checkpoints, the log and the loss curve.
    """
    from rich.console import Console

    from .planning import plan_lines
    from .preparing import prepare
    from .recipe import read_recipe

    out = Console(soft_wrap=True, highlight=False)
    prepared = prepare(read_recipe(config))
    if dry_run:
        for line in plan_lines(prepared):
            name, _, rest = line.partition(": ")
            out.print(f"[bold]{name}:[/bold] ", end="")
            out.print(rest, markup=False)
        return
    trainer = prepared.trainer()
    result = trainer.train(resume_from_checkpoint=resume or None)
    trainer.save_model()
    trainer.save_state()
    metrics = dict(result.metrics)
    if prepared.evaluation is not None:
        metrics |= trainer.evaluate()
    trainer.save_metrics("all", metrics, combined=False)
    trainer.trackers.finish()
    out.print(
        f"Trained {result.global_step} steps, loss {result.training_loss:.4f}. The model is in {prepared.args.output_dir}.",
        markup=False,
    )
