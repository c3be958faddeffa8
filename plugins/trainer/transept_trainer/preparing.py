"""From a recipe to a trainer: load, tokenize, choose collator and metrics."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from transept.errors import ConfigError, InputError, shorten

from .arguments import TrainingArguments
from .flow import EarlyStoppingCallback
from .recipe import Recipe, held_out, read_rows
from .results import EvalPrediction
from .seq2seq import Seq2SeqTrainer
from .trainer import Trainer

__all__ = ["Prepared", "prepare"]

_AUTO = {
    "sequence_classification": "AutoModelForSequenceClassification",
    "causal_lm": "AutoModelForCausalLM",
    "masked_lm": "AutoModelForMaskedLM",
    "seq2seq_lm": "AutoModelForSeq2SeqLM",
}


@dataclass
class Prepared:
    """Everything that a run needs."""

    model: Any
    tokenizer: Any
    args: TrainingArguments
    train: list[dict[str, Any]]
    evaluation: list[dict[str, Any]] | None
    collator: Any
    metrics: Any
    callbacks: list[Any]

    def trainer(self) -> Trainer:
        return Seq2SeqTrainer(
            self.model,
            self.args,
            data_collator=self.collator,
            train_dataset=self.train,
            eval_dataset=self.evaluation,
            processing_class=self.tokenizer,
            compute_metrics=self.metrics,
            callbacks=self.callbacks,
        )


def prepare(recipe: Recipe) -> Prepared:
    """Load the model and the data. Raises what loading raises, InputError for data that does not fit the task."""
    from transept import AutoTokenizer, set_seed

    args = recipe.arguments()
    set_seed(args.seed)  # heads that are drawn at random follow from the seed too
    rows = read_rows(recipe.data.train, recipe.task)
    evaluation = None
    if isinstance(recipe.data.eval, str):
        evaluation = read_rows(recipe.data.eval, recipe.task)
    elif recipe.data.eval is not None and recipe.task not in ("causal_lm", "masked_lm"):
        rows, evaluation = held_out(rows, recipe.data.eval, recipe.data.shuffle_seed)
    tokenizer = AutoTokenizer.from_pretrained(recipe.tokenizer or recipe.model)
    names = _labels(recipe, [*rows, *(evaluation or [])])
    model = _model(recipe, names)
    make = {"sequence_classification": _classified, "seq2seq_lm": _translated}.get(recipe.task, _blocks)
    train = make(recipe, tokenizer, rows, names)
    if evaluation is not None:
        evaluation = make(recipe, tokenizer, evaluation, names)
    elif isinstance(recipe.data.eval, float):
        train, evaluation = held_out(train, recipe.data.eval, recipe.data.shuffle_seed)
    callbacks: list[Any] = []
    if recipe.early_stopping is not None:
        callbacks.append(EarlyStoppingCallback(recipe.early_stopping.patience, recipe.early_stopping.threshold))
    metrics = accuracy if recipe.task == "sequence_classification" and names else None
    return Prepared(model, tokenizer, args, train, evaluation, _collator(recipe, tokenizer, model), metrics, callbacks)


def accuracy(found: EvalPrediction) -> dict[str, float]:
    return {"accuracy": float((np.argmax(found.predictions, axis=-1) == found.label_ids).mean())}


def _labels(recipe: Recipe, rows: list[dict[str, Any]]) -> list[str] | None:
    """Names of the classes; None where labels are numbers to be met, or the task has none."""
    if recipe.task != "sequence_classification":
        return None
    column = recipe.data.label
    lacking = next((place for place, row in enumerate(rows) if row.get(column) is None), None)
    if lacking is not None:
        raise InputError(f"Example {lacking} has no `{column}`: it has {shorten(rows[lacking])}. Set `data.label`.")
    if all(isinstance(row[column], float) for row in rows):
        return None
    values = {row[column] for row in rows}
    if all(isinstance(value, int) for value in values):
        if min(values) < 0:
            raise InputError(f"`{column}` has the class {min(values)}: classes are counted from 0.")
        return [f"LABEL_{number}" for number in range(max(values) + 1)]
    return sorted(str(value) for value in values)


def _model(recipe: Recipe, names: list[str] | None) -> Any:
    import transept

    auto = getattr(transept, _AUTO[recipe.task])
    more: dict[str, Any] = {}
    if recipe.task == "sequence_classification":
        more = (
            {"num_labels": 1}
            if names is None
            else {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
        )
    if recipe.model is not None:
        return auto.from_pretrained(recipe.model, **{**more, **recipe.load})
    given = {**(recipe.config or {}), **more}
    kind = given.pop("model_type", None)
    if kind is None:
        raise ConfigError("`config` has no `model_type`: say which architecture it is of.")
    return auto.from_config(transept.AutoConfig.for_model(kind, **given))


def _column(rows: list[dict[str, Any]], name: str, key: str) -> list[str]:
    lacking = next((place for place, row in enumerate(rows) if not isinstance(row.get(name), str)), None)
    if lacking is not None:
        raise InputError(f"Example {lacking} has no text `{name}`: it has {shorten(rows[lacking])}. Set `data.{key}`.")
    return [row[name] for row in rows]


def _as_examples(encoded: Any) -> list[dict[str, Any]]:
    count = len(encoded["input_ids"])
    return [{name: values[row] for name, values in encoded.items()} for row in range(count)]


def _classified(recipe: Recipe, tokenizer: Any, rows: list[dict[str, Any]], names: list[str] | None) -> list[dict[str, Any]]:
    data = recipe.data
    texts = [_column(rows, data.text, "text")] + ([_column(rows, data.text_pair, "text_pair")] if data.text_pair else [])
    examples = _as_examples(tokenizer(*texts, truncation=True, max_length=data.max_length))
    ids = {name: number for number, name in enumerate(names or ())}
    for example, row in zip(examples, rows, strict=True):
        value = row[data.label]
        example["labels"] = float(value) if names is None else value if isinstance(value, int) else ids[str(value)]
    return examples


def _translated(recipe: Recipe, tokenizer: Any, rows: list[dict[str, Any]], names: list[str] | None) -> list[dict[str, Any]]:
    data = recipe.data
    examples = _as_examples(tokenizer(_column(rows, data.text, "text"), truncation=True, max_length=data.max_length))
    targets = tokenizer(text_target=_column(rows, data.target, "target"), truncation=True, max_length=data.max_length)
    for example, ids in zip(examples, targets["input_ids"], strict=True):
        example["labels"] = ids
    return examples


def _blocks(recipe: Recipe, tokenizer: Any, rows: list[dict[str, Any]], names: list[str] | None) -> list[dict[str, Any]]:
    """Documents end to end, with the end token between them, cut into blocks; what is left at the end is dropped."""
    ids: list[int] = []
    for text in _column(rows, recipe.data.text, "text"):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="A text has")  # longer than the model takes: it is cut into blocks
            ids += tokenizer(text, add_special_tokens=False)["input_ids"]
        if tokenizer.eos_token_id is not None:
            ids.append(tokenizer.eos_token_id)
    size = recipe.data.max_length
    blocks = [ids[at : at + size] for at in range(0, len(ids) - size + 1, size)]
    if not blocks:
        raise InputError(f"`{recipe.data.train}` has {len(ids)} tokens, fewer than one block: lower `data.max_length`.")
    labelled = recipe.task == "causal_lm"
    return [{"input_ids": block, **({"labels": block} if labelled else {})} for block in blocks]


def _collator(recipe: Recipe, tokenizer: Any, model: Any) -> Any:
    from transept_data import (
        DataCollatorForLanguageModeling,
        DataCollatorForSeq2Seq,
        DataCollatorWithPadding,
        default_data_collator,
    )

    if recipe.task == "masked_lm":
        return DataCollatorForLanguageModeling(tokenizer)
    if recipe.task == "seq2seq_lm":
        return DataCollatorForSeq2Seq(tokenizer, model=model)
    return default_data_collator if recipe.task == "causal_lm" else DataCollatorWithPadding(tokenizer)
