"""The files of a sentence-transformers checkpoint: `modules.json`, the stages' folders, and the settings beside them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from transept.checkpoints import open_safetensors
from transept.errors import CheckpointNotFoundError, ConfigError, CorruptFileError, ShapeMismatchError, shorten
from transept.files import DirectoryLocation, Location, read_json

from .stages import Dense, Normalize, Pooling

__all__ = ["SentenceSettings", "read_settings", "read_stages"]

MODULES = "modules.json"
PROMPTS = "config_sentence_transformers.json"
LENGTHS = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)
"""Names that the transformer's settings have had."""
STAGES = {"Pooling": Pooling, "Dense": Dense, "Normalize": Normalize}
SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
_ACCEPTED = {"max_seq_length", "do_lower_case", "transformer_task", "modality_config", "module_output_name"}


@dataclass
class SentenceSettings:
    """What stands beside the modules."""

    max_seq_length: int | None = None
    """In tokens, special ones included; None: what the model and its tokenizer take."""
    do_lower_case: bool = False
    prompts: dict[str, str] = field(default_factory=dict)
    """Texts to put before a sentence, by name."""
    default_prompt_name: str | None = None
    similarity_fn_name: str = "cosine"


def read_object(location: Location, name: str) -> dict[str, Any] | None:
    """A JSON object of the checkpoint; None where there is no such file.

    Raises: UnsafePathError for a name that leads out of the checkpoint; CorruptFileError.
    """
    path = location.fetch(name)
    if path is None:
        return None
    value = read_json(path)
    if not isinstance(value, dict):
        raise CorruptFileError(f"`{path}` holds a {type(value).__name__}; an object is expected.", path=str(path))
    return value


def read_modules(location: Location) -> list[tuple[str, str]] | None:
    """Kind and folder of each module in order, from `modules.json`; None where there is no such file.

    Raises:
        CorruptFileError: not a list of objects with `type` and `path`.
        ConfigError: a module that is not known, by name; or the first is no transformer.
    """
    path = location.fetch(MODULES)
    if path is None:
        return None
    listed = read_json(path)
    found: list[tuple[str, str]] = []
    for entry in listed if isinstance(listed, list) else [None]:
        kind, folder = (entry.get("type"), entry.get("path")) if isinstance(entry, dict) else (None, None)
        if not isinstance(kind, str) or not isinstance(folder, str):
            raise CorruptFileError(
                f"`{path}` is not what a sentence encoder is made of: a list of objects with `type` and `path` is expected."
            )
        package, _, name = kind.rpartition(".")
        if package.partition(".")[0] != "sentence_transformers":
            raise ConfigError(
                f"`{location.name}` has a module of the type `{kind}`, which is code of its own: transept runs no code of a "
                "checkpoint.",
                module=kind,
            )
        if name not in ("Transformer", *STAGES) or (name == "Transformer") != (not found):
            known = shorten(["Transformer", *STAGES])
            raise ConfigError(
                f"`{location.name}` has `{kind}` as module {len(found)}. Known are {known}: one `Transformer`, then the others.",
                module=kind,
            )
        found.append((name, folder))
    if not found:
        raise CorruptFileError(f"`{path}` lists no modules.")
    return found


def read_stages(location: Location, modules: list[tuple[str, str]]) -> list[nn.Module]:
    """The modules behind the transformer, with their weights."""
    stages: list[nn.Module] = []
    for kind, folder in modules[1:]:
        if kind == "Normalize":
            stages.append(Normalize())
            continue
        values = read_object(location, f"{folder}/config.json")
        if values is None:
            raise CheckpointNotFoundError(f"`{location.name}` has no `{folder}/config.json`, which its `{kind}` needs.")
        stage = STAGES[kind].from_config(values)  # type: ignore[attr-defined]
        if isinstance(stage, Dense):
            _fill(stage, location, folder)
        stages.append(stage)
    return stages


def _fill(stage: nn.Module, location: Location, folder: str) -> None:
    path = location.fetch(f"{folder}/model.safetensors")
    if path is None:
        pickled = location.fetch(f"{folder}/pytorch_model.bin") is not None
        why = "holds pickled weights, which can run code when read: convert them to" if pickled else "has no"
        raise CheckpointNotFoundError(f"`{folder}` of `{location.name}` {why} `model.safetensors`.")
    with open_safetensors(DirectoryLocation(path), mmap=False) as reader:
        tensors: dict[str, Tensor] = {name: ref.read() for name, ref in reader.tensors.items()}
    wanted = stage.state_dict()
    if tensors.keys() != wanted.keys():
        raise CorruptFileError(f"`{path}` holds {shorten(tensors)}, and {shorten(wanted)} are expected.")
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            raise ShapeMismatchError(
                f"`{name}` in `{path}` has the shape {tuple(tensor.shape)}, and its config says {tuple(wanted[name].shape)}."
            )
    stage.load_state_dict(tensors)


def read_settings(location: Location, transformer: str) -> SentenceSettings:
    """The settings of the checkpoint; `transformer` is the folder of its transformer."""
    prefix = f"{transformer}/" if transformer else ""
    lengths: Mapping[str, Any] = next((found for name in LENGTHS if (found := read_object(location, prefix + name))), {})
    unread = [key for key, value in lengths.items() if key not in _ACCEPTED and value]
    if unread:
        warnings.warn(
            f"`{location.name}`: settings of its transformer that have no effect here: {shorten(unread)}.", stacklevel=4
        )
    longest = lengths.get("max_seq_length")
    if longest is not None and (isinstance(longest, bool) or not isinstance(longest, int) or longest < 1):
        raise ConfigError(f"`max_seq_length` of `{location.name}` is {longest!r}: a number of tokens is expected.")
    values = read_object(location, PROMPTS) or {}
    prompts = values.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
        raise ConfigError(f"`prompts` of `{location.name}` must map names to texts.")
    similarity = values.get("similarity_fn_name") or "cosine"
    if similarity not in SIMILARITIES:
        raise ConfigError(f"`similarity_fn_name` of `{location.name}` is {similarity!r}: known are {shorten(SIMILARITIES)}.")
    default = values.get("default_prompt_name")
    if default is not None and default not in prompts:
        raise ConfigError(
            f"`default_prompt_name` of `{location.name}` is {default!r}, and `prompts` has {shorten(prompts) or 'none'}."
        )
    return SentenceSettings(longest, bool(lengths.get("do_lower_case", False)), dict(prompts), default, similarity)
