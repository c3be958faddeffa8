"""The sampling flags of `generate` and `chat`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

__all__ = ["MaxNewTokens", "MinP", "RepetitionPenalty", "Sample", "Seed", "Temperature", "TopK", "TopP", "generation_arguments"]

MaxNewTokens = Annotated[int, typer.Option("--max-new-tokens", "-n", min=0, help="Most tokens to add.")]
Sample = Annotated[
    bool | None, typer.Option("--sample/--greedy", help="Draw tokens, or take the likeliest. Sampling flags imply --sample.")
]
Temperature = Annotated[
    float | None, typer.Option("--temperature", "-t", min=0.0, help="Above 1 bolder, below 1 safer, 0 greedy.")
]
TopK = Annotated[int | None, typer.Option("--top-k", min=1, help="Draw among the k likeliest tokens.")]
TopP = Annotated[
    float | None, typer.Option("--top-p", min=0.0, max=1.0, help="Draw among the likeliest that make up this probability.")
]
MinP = Annotated[
    float | None, typer.Option("--min-p", min=0.0, max=1.0, help="Drop tokens below this share of the likeliest one.")
]
RepetitionPenalty = Annotated[float | None, typer.Option("--repetition-penalty", min=0.01, help="Above 1: discourage repeats.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, max=2**63 - 1, help="Make sampling repeatable.")]


def generation_arguments(
    *,
    max_new_tokens: int,
    sample: bool | None,
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
    min_p: float | None,
    repetition_penalty: float | None,
    seed: int | None,
    device: Any,
) -> dict[str, Any]:
    """The keywords of `generate` for these flags; flags that only matter when sampling turn it on, and contradict --greedy."""
    import torch

    flags = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    given = {name: value for name, value in flags.items() if value is not None}
    if sample is False and any(name != "temperature" or value for name, value in given.items()):
        raise typer.BadParameter(f"--greedy contradicts --{next(iter(given)).replace('_', '-')}: drop one.")
    if sample is False and seed is not None:
        raise typer.BadParameter("--greedy contradicts --seed: nothing is drawn. Drop one.")
    wanted = sample if sample is not None else (bool(given) or seed is not None) and temperature != 0
    arguments: dict[str, Any] = {"max_new_tokens": max_new_tokens, "do_sample": wanted}
    if wanted:
        arguments.update(given)
    if repetition_penalty is not None:
        arguments["repetition_penalty"] = repetition_penalty
    if seed is not None:
        arguments["generator"] = torch.Generator(device=device).manual_seed(seed)
    return arguments
