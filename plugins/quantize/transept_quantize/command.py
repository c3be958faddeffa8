"""`transept quantize MODEL OUT --method …`: the steps, and what is said about them."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from transept_cli.console import err, load_progress, out, size_of
from transept_cli.loading import ModelArgument, RevisionOption, load_tokenizer, own_task, task_class

from transept.errors import InputError, QuantizationError, SaveError, TokenizerError
from transept.files import atomic_write_text
from transept.quantization import chosen_quantizers

from .calibrate import calibrate
from .report import Outcome, report
from .settings import calibration_of, settings_for
from .text import pieces, read_text

__all__ = ["quantize"]

_PARTIAL = ".quantize"
"""The folder within OUT that holds finished layers until all of them are."""


def quantize(
    model: ModelArgument,
    destination: Annotated[
        Path, typer.Argument(metavar="OUT", help="The folder to write: config, tokenizer, weights, report.md.")
    ],
    method: Annotated[str, typer.Option("--method", "-m", help="A quantizer or preset: int8, nf4, gptq, q4_0, …")],
    data: Annotated[Path | None, typer.Option("--data", help="Text to calibrate with: .txt, or .jsonl with `text`.")] = None,
    evaluate: Annotated[
        Path | None, typer.Option("--eval", help="Text for the perplexity; without it the last tenth of --data.")
    ] = None,
    bits: Annotated[int | None, typer.Option("--bits", help="Bits of a weight, where the method leaves a choice.")] = None,
    group_size: Annotated[int | None, typer.Option("--group-size", help="Weights that share a scale.")] = None,
    skip: Annotated[list[str] | None, typer.Option("--skip", help="Leave these modules as they are; may be repeated.")] = None,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Pieces of text to calibrate with.")] = 128,
    length: Annotated[int, typer.Option("--length", min=2, help="Tokens of each piece.")] = 512,
    eval_tokens: Annotated[int, typer.Option("--eval-tokens", min=2, help="Tokens to measure the perplexity on.")] = 20_000,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew where an earlier run was stopped.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that is not empty.")] = False,
    revision: RevisionOption = None,
) -> None:
    """Quantize a checkpoint, with data where the method learns from some, and report size and perplexity."""
    started = time.perf_counter()
    settings = settings_for(method, bits=bits, group_size=group_size, skip=skip)
    start = calibration_of(settings)
    if start is not None and data is None:
        raise QuantizationError(f"`{method}` learns from data: give a text with --data FILE.")
    asked = {"model": model, "settings": settings.to_dict(), "samples": samples, "length": length, "data": _fingerprint(data)}
    partial = _prepare(destination, asked, restart=restart, force=force)

    from transept import AutoConfig

    config = AutoConfig.from_pretrained(model, revision=revision)
    if config.quantization_config is not None:
        there = config.quantization_config
        there = there.get("quant_method") if isinstance(there, dict) else getattr(there, "quant_method", there)
        raise QuantizationError(
            f"`{model}` is quantized with `{there}` already: start from the checkpoint that is not quantized."
        )
    kind = task_class(config, own_task(config))
    needs_text = data is not None or evaluate is not None
    tokenizer = load_tokenizer(model, revision=revision) if needs_text else _tokenizer(model, revision)
    calibration, held_out = _texts(data, evaluate)
    held_out, scored = _shortened(tokenizer, held_out, eval_tokens)

    with load_progress(f"Reading {model}") as progress:
        loaded = kind.from_pretrained(
            model, revision=revision, dtype=_float_dtype(config), automatic_rewrites=False, progress=progress
        )
    before = Outcome.of(loaded, _perplexity(loaded, tokenizer, held_out, "before"))
    if start is None:
        loaded.quantize(settings)
    else:
        _calibrated(
            loaded,
            settings,
            start,
            pieces(tokenizer(calibration, add_special_tokens=False, verbose=False).input_ids, samples, length),
            partial,
        )
    loaded.save_pretrained(destination)
    if tokenizer is not None:
        tokenizer.save_pretrained(destination)
    quantized = sorted({applied.path for applied in loaded.applied_rewrites if applied.rewrite.packs})
    del loaded
    again = kind.from_pretrained(destination)  # what is reported is what was written
    after = Outcome.of(again, _perplexity(again, tokenizer, held_out, "after"), folder=destination)
    seconds = time.perf_counter() - started
    text = report(model, settings, quantized, before, after, seconds=seconds, tokens=scored, data=data)
    atomic_write_text(destination / "report.md", text)
    shutil.rmtree(partial, ignore_errors=True)
    out.print(f"Wrote {size_of(after.bytes)} to {destination} in {seconds:.0f} s ({len(quantized)} layers).", soft_wrap=True)
    out.print(f"    {before.line()}  →  {after.line()}", highlight=False, soft_wrap=True)


def _prepare(destination: Path, asked: dict[str, Any], *, restart: bool, force: bool) -> Path:
    """The folder for finished layers, when OUT may be written to; what a stopped run of the same kind left stays in it.

    Raises:
        SaveError: OUT holds something else. QuantizationError: it holds the beginning of another quantization.
    """
    partial = destination / _PARTIAL
    state = partial / "asked.json"
    if destination.exists() and not destination.is_dir():
        raise SaveError(f"`{destination}` is a file: give the name of a folder.")
    if restart:
        shutil.rmtree(partial, ignore_errors=True)
    if (
        destination.exists()
        and any(one.name != _PARTIAL for one in destination.iterdir())
        and not partial.exists()
        and not force
    ):
        raise SaveError(f"`{destination}` is not empty: choose another folder, or pass --force.")
    wanted = json.dumps(asked, indent=2, sort_keys=True, default=str)
    if state.exists() and state.read_text() != wanted:
        raise QuantizationError(
            f"`{destination}` holds the beginning of another quantization (model, method, data or settings differ): pass --restart, or "
            "choose another folder."
        )
    partial.mkdir(parents=True, exist_ok=True)
    atomic_write_text(state, wanted)
    return partial


def _fingerprint(file: Path | None) -> str | None:
    if file is None:
        return None
    if not file.is_file():
        raise InputError(f"`{file}` is no file: --data takes a text.")
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _tokenizer(model: str, revision: str | None) -> Any:
    try:
        return load_tokenizer(model, revision=revision)
    except TokenizerError as error:
        err.print(f"No tokenizer is written: {error}", style="yellow", markup=False, soft_wrap=True)
        return None


def _texts(data: Path | None, evaluate: Path | None) -> tuple[str, str]:
    """Text to calibrate with, and text to measure on, which is none of it."""
    calibration = read_text(data) if data is not None else ""
    if evaluate is not None:
        return calibration, read_text(evaluate)
    cut = len(calibration) * 9 // 10
    return calibration[:cut], calibration[cut:]


def _shortened(tokenizer: Any, text: str, tokens: int) -> tuple[str, int]:
    """The beginning of a text, and how many tokens it has."""
    if not text:
        return "", 0
    ids = tokenizer(text, add_special_tokens=False, verbose=False).input_ids[:tokens]
    return tokenizer.decode(ids), len(ids)


def _float_dtype(config: Any) -> torch.dtype:
    """The checkpoint's own floats, or float32: never blocks that a file packs."""
    return config.dtype or torch.float32


def _perplexity(model: Any, tokenizer: Any, text: str, when: str) -> float | None:
    """Of the text, read through windows; None without a text, or for a model that does not predict the next token."""
    from transept_eval import evaluate

    if not text or not model.can_generate() or model.config.is_encoder_decoder:
        return None
    with _bar() as bar:
        task = bar.add_task(f"Perplexity {when}")
        found = evaluate(
            model,
            [{"text": text}],
            "language-modeling",
            tokenizer=tokenizer,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    return float(found.metrics["perplexity"])


def _calibrated(model: Any, settings: Any, start: Any, batches: list[torch.Tensor], partial: Path) -> None:
    (quantizer,) = chosen_quantizers(settings, model.config)
    model.config.quantization_config = None
    with _bar() as bar:
        task = bar.add_task("Quantizing")

        def tell(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, description=f"Quantizing {what}")

        calibrate(model, quantizer, start, [{"input_ids": batch} for batch in batches], partial, tell)  # type: ignore[arg-type]
    model.config.quantization_config = settings


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
