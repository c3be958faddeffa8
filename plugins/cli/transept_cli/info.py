"""`transept info`: what a checkpoint is, without reading its weights."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .console import out, print_json, print_table, size_of
from .loading import ModelArgument, RevisionOption, own_task, task_class

__all__ = ["info"]


def info(
    model: ModelArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    revision: RevisionOption = None,
) -> None:
    """Show what a checkpoint is: architecture, parameters, memory, plugins that serve it. No weight is read."""
    facts = describe(model, revision)
    if as_json:
        print_json(facts)
        return
    out.print(facts["name"], style="bold", markup=False)
    rows = [
        ("model type", facts["model_type"]),
        ("architecture", ", ".join(facts["architectures"]) or "not named"),
        ("tasks", ", ".join(facts["tasks"])),
        ("parameters", f"{facts['parameters']:,}"),
        (
            "on disk",
            f"{size_of(facts['bytes_on_disk'])} in {len(facts['files'])} file(s), {facts['format']}: {', '.join(facts['stored_as'])}",
        ),
        *((f"memory as {dtype}", size_of(count)) for dtype, count in facts["memory"].items()),
        ("context", facts["context"] if facts["context"] is not None else "not bounded"),
        ("cache per token", _cache(facts)),
        *(("served by" if i == 0 else "", f"{role}: {dist}") for i, (role, dist) in enumerate(facts["plugins"].items())),
    ]
    print_table(("", ""), rows)


def _cache(facts: dict[str, Any]) -> str:
    size = facts["cache_bytes_per_token"]
    return "none: it does not generate" if size is None else f"{size_of(size)} (float32)"


def describe(name: str, revision: str | None = None) -> dict[str, Any]:
    """The facts as data: counted from the architecture built without storage, and from the file's own table of tensors."""
    from transept import AutoConfig
    from transept.auto import known_tasks, task_door
    from transept.checkpoints import on_meta
    from transept.checkpoints.pretrained import LoadOptions, open_checkpoint
    from transept.discovery import registry
    from transept.files import open_location

    location = open_location(name, revision=revision)
    config = AutoConfig.from_pretrained(location)
    spec = registry.get("models", config.model_type)
    with on_meta():
        built = task_class(config, own_task(config))(config)
    reader, record = open_checkpoint(location, LoadOptions())
    with reader:
        stored = {ref.kind for ref in reader.tensors.values()}
        on_disk = sum(ref.nbytes for ref in reader.tensors.values())
        files = [str(file).rpartition("/")[2] for file in reader.files]
    parameters = built.num_parameters()
    heads = getattr(config, "num_key_value_heads", None) or getattr(config, "num_attention_heads", 0)
    head_dim = getattr(config, "head_dim", None) or (config.hidden_size // config.num_attention_heads if heads else 0)
    return {
        "name": name,
        "model_type": config.model_type,
        "architectures": config.architectures or [],
        "tasks": [task_door(t) if t in known_tasks() else ref.rpartition(":")[2] for t, ref in spec.tasks.items()],
        "parameters": parameters,
        "format": record.key,
        "files": files,
        "stored_as": sorted(stored),
        "bytes_on_disk": on_disk,
        "memory": {dtype: parameters * size for dtype, size in (("float32", 4), ("bfloat16", 2))},
        "context": getattr(config, "max_position_embeddings", None),
        "cache_bytes_per_token": 2 * 4 * heads * head_dim * config.num_hidden_layers if built.can_generate() else None,
        "plugins": {
            f"{kind} {key}": registry.owner(kind, key)
            for kind, key in (("sources", location.source), ("checkpoints", record.key), ("models", config.model_type))
        },
    }
