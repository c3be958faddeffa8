"""`transept explain`: who serves each role for a checkpoint, and why the others do not."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from transept.errors import PluginError, TranseptError

from .console import out, print_json
from .loading import AttentionOption, DtypeOption, ModelArgument, RevisionOption, RewriteOption, own_task, task_class

__all__ = ["explain", "explanation"]


def explain(
    model: ModelArgument,
    attention: AttentionOption = "auto",
    rewrite: RewriteOption = None,
    dtype: DtypeOption = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    revision: RevisionOption = None,
) -> None:
    """Show which plugin, kernel and rewrite is chosen for each role, and why the others are not."""
    roles = explanation(model, attention=attention, rewrites=rewrite, dtype=dtype, revision=revision)
    if as_json:
        print_json(roles)
        return
    for role in roles:
        out.print(f"{role['role']}: ", style="bold", end="", highlight=False)
        out.print(f"{role['choice']}  ({role['dist']})", markup=False, highlight=False, soft_wrap=True)
        out.print(f"    {role['why']}", style="dim", markup=False, highlight=False, soft_wrap=True)
        for other in role["others"]:
            out.print(
                f"    not {other['key']} ({other['dist']}): {other['why']}",
                style="dim",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )


def explanation(
    name: str, *, attention: str = "auto", rewrites: list[str] | None = None, dtype: str = "auto", revision: str | None = None
) -> list[dict[str, Any]]:
    """One row a role: role, choice, dist, why, and the others with the reason against each. The model is loaded to see."""
    from transept import AutoConfig
    from transept.auto import AutoTokenizer
    from transept.checkpoints.pretrained import LoadOptions, open_checkpoint
    from transept.discovery import registry
    from transept.files import open_location

    location = open_location(name, revision=revision)
    config = AutoConfig.from_pretrained(location)
    model = task_class(config, own_task(config)).from_pretrained(
        location, dtype=dtype, attn_implementation=None if attention == "auto" else attention, rewrites=tuple(rewrites or ())
    )
    reader, record = open_checkpoint(location, LoadOptions())
    reader.close()
    config = model.config
    rows = [
        _row(
            "source",
            "sources",
            location.source,
            f"it opens `{name}`",
            _others("sources", location.source, "another scheme, or asked later"),
        ),
        _row(
            "format", "checkpoints", record.key, f"the weights end in {', '.join(record.suffixes)}", _formats(location, record)
        ),
        _row("architecture", "models", config.model_type, f"the config says model_type `{config.model_type}`", []),
    ]
    try:
        _, tokenizer = AutoTokenizer._choose(location, True)
        rows.append(
            _row(
                "tokenizer",
                "tokenizers",
                tokenizer.key,
                "named by the checkpoint, or it reads the files that are there",
                _tokenizers(location, tokenizer),
            )
        )
    except TranseptError as error:
        rows.append({"role": "tokenizer", "choice": "none", "dist": "", "why": str(error), "others": []})
    rows += _attention(model)
    if model.can_generate():
        rows += _generation(model.generation_config)
    rows += _rewrites(model, registry)
    return rows


def _generation(config: Any) -> list[dict[str, Any]]:
    cache, strategy = config.cache_implementation or "dynamic", "sample" if config.do_sample else "greedy"
    silent = "`cache_implementation` in the generation config, dynamic when it is silent"
    sampled = f"`do_sample` is {bool(config.do_sample)} in the generation config"
    return [
        _row("cache", "caches", cache, silent, _others("caches", cache, "not asked for")),
        _row("decoding", "decoding", strategy, sampled, _others("decoding", strategy, "not asked for")),
    ]


def _dist(kind: str, key: str) -> str:
    from transept.discovery import registry

    try:
        return registry.owner(kind, key)
    except PluginError:
        return "not installed"


def _row(role: str, kind: str, key: str, why: str, others: list[dict[str, str]]) -> dict[str, Any]:
    return {"role": role, "choice": key, "dist": _dist(kind, key), "why": why, "others": others}


def _others(kind: str, chosen: str, why: str) -> list[dict[str, str]]:
    from transept.discovery import registry

    return [{"key": key, "dist": _dist(kind, key), "why": why} for key in registry.keys(kind) if key != chosen]


def _formats(location: Any, chosen: Any) -> list[dict[str, str]]:
    from transept.discovery import registry
    from transept.files import weight_files

    found = []
    for record in registry.records("checkpoints"):
        if record.key != chosen.key:
            there = weight_files(location.names(), record.suffixes)
            why = (
                f"`{there[0]}` is there, and `{chosen.key}` has the higher priority"
                if there
                else f"no file ends in {', '.join(record.suffixes)}"
            )
            found.append({"key": record.key, "dist": _dist("checkpoints", record.key), "why": why})
    return found


def _tokenizers(location: Any, chosen: Any) -> list[dict[str, str]]:
    from fnmatch import fnmatchcase

    from transept.discovery import registry

    found = []
    for record in registry.records("tokenizers"):
        if record.tokenizer != chosen.tokenizer:
            reads = any(fnmatchcase(file, pattern) for file in location.names() for pattern in record.files)
            why = (
                "the chosen one was named, or has the higher priority"
                if reads
                else f"none of {', '.join(record.files) or 'its files'} is there"
            )
            found.append({"key": record.key, "dist": _dist("tokenizers", record.key), "why": why})
    return found


def _attention(model: Any) -> list[dict[str, Any]]:
    """Ask the attention layers after a forward pass of two tokens, since the choice depends on the request: a row for each answer."""
    from inspect import signature

    import torch

    layers = list(model.attention_layers())
    if not layers:
        return [{"role": "attention", "choice": "none", "dist": "", "why": "the model has no attention layers", "others": []}]
    base = model.base_model
    takes = signature(base.forward).parameters
    tokens = torch.zeros((1, 2), dtype=torch.long, device=model.device)
    if "input_ids" in takes:
        with torch.no_grad():
            base(**{name: tokens for name in ("input_ids", "decoder_input_ids") if name in takes})
    answers: dict[str, list[tuple[str, Any]]] = {}
    for path, binding in layers:
        said = binding.explain()
        answers.setdefault(str(said), []).append((path, said))
    rows = []
    for alike in answers.values():
        said = alike[0][1]
        where = "" if len(answers) == 1 else f"; {len(alike)} of {len(layers)} layers, the first is {alike[0][0]}"
        others = [{"key": key, "dist": _dist("attention", key), "why": why} for key, why in said.others.items()]
        rows.append(_row("attention", "attention", said.kernel, said.why + where, others))
    return rows


def _rewrites(model: Any, registry: Any) -> list[dict[str, Any]]:
    applied = model.applied_rewrites
    rows = []
    for key in dict.fromkeys(a.key for a in applied):
        touched = [a for a in applied if a.key == key]
        shown = "; ".join(f"{a.path}: {a.why}" for a in touched[:3]) + (
            f"; and {len(touched) - 3} more" if len(touched) > 3 else ""
        )
        rows.append(_row("rewrite", "rewrites", key, shown, []))
    names = {a.key for a in applied}
    idle = [
        {"key": record.key, "dist": _dist("rewrites", record.key), "why": _why_idle(model, record)}
        for record in registry.records("rewrites")
        if record.key not in names
    ]
    if not rows:
        rows.append({"role": "rewrite", "choice": "none", "dist": "", "why": "no rewrite was asked for", "others": idle})
    else:
        rows[-1]["others"] = idle
    return rows


def _why_idle(model: Any, record: Any) -> str:
    from transept.discovery import load_object

    if record.automatic is None:
        return "not asked for"
    devices = {parameter.device for parameter in model.parameters()}
    why = load_object(record.automatic, owner=record.key)(model, devices.pop() if len(devices) == 1 else None)
    return str(why) if why is not None else "automatic rewrites were turned off"
