"""What exists in the world of transept: the kinds of plugin, and which dist to install for a well-known key.

Only dists that the project publishes stand here: a command that names a dist nobody owns would be an invitation.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

KINDS = {
    "configs": "model_type",
    "models": "model_type",
    "tokenizers": "tokenizer",
    "attention": "attention kernel",
    "quantizers": "quantization method",
    "adapters": "library of adapters",
    "checkpoints": "checkpoint format",
    "sources": "source",
    "rewrites": "rewrite",
    "caches": "cache",
    "decoding": "decoding strategy",
    "pipelines": "pipeline",
    "processors": "processor",
    "optimizers": "optimizer",
    "schedulers": "scheduler",
    "metrics": "metric",
    "exporters": "exporter",
    "placements": "placement",
    "commands": "command",
    "observers": "observer",
    "api": "name",
}
"""Each kind has the entry-point group ``transept.<kind>``; what people call its keys."""

_EVENTS = "config_created model_loaded model_saved generation_started generation_step generation_finished training_event"
EVENTS = frozenset(_EVENTS.split())
"""The hooks of the kind `observers`, known here so that announcing to nobody imports nothing."""

_FAMILIES = "albert bart bert distilbert gemma2 gpt2 gpt_neox llama mistral qwen2 qwen3 roberta t5 vit whisper"
_MODELS = {family: f"transept-{family.replace('_', '-')}" for family in _FAMILIES.split()}


@cache
def _dists(kind: str) -> dict[str, str]:
    """Keys of a kind to dists; the table is read when the first hint is needed."""
    if kind in ("configs", "models"):
        return _MODELS
    import tomllib

    table = tomllib.loads(Path(__file__).with_name("known.toml").read_text(encoding="utf-8"))
    return {key: f"transept-{dist}" for dist, keys in table.get(kind, {}).items() for key in keys.split()}


_CLASSES = ("api", "tokenizers", "processors")


def noun(kind: str) -> str:
    """What people call a key of this kind."""
    return KINDS.get(kind, kind)


def known_keys(kind: str) -> list[str]:
    return list(_dists(kind))


def known_dist(kind: str, key: str) -> str | None:
    """The dist to install for a well-known key; where keys are names of classes, also for those such as `BertModel`."""
    return _dists(kind).get(key) or (_dist_of_class(key) if kind in _CLASSES else None)


def _dist_of_class(name: str) -> str | None:
    """`GPTNeoXForCausalLM` is one of gpt_neox's: class names spell the family without underscores, then go on in a capital."""
    if name.startswith("DataCollator"):
        return "transept-data"
    if name.endswith("Pipeline"):
        return "transept-pipelines"
    for family, dist in _MODELS.items():
        spelled = family.replace("_", "")
        if name.lower().startswith(spelled) and name[len(spelled) : len(spelled) + 1].isupper():
            return dist
    return None
