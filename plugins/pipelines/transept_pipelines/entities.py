"""From labelled tokens to entities: tokens joined to words, words to groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch import Tensor

from transept.errors import InputError, did_you_mean

__all__ = ["AggregationStrategy", "LabelledToken", "entities_of", "merge_overlaps", "strategy_of"]


class AggregationStrategy(Enum):
    """How tokens become entities.

    NONE: they don't. SIMPLE: neighbours with the same label are one. FIRST, AVERAGE, MAX: first the tokens of a word agree,
    on the label of its first token, of their mean scores, or of the surest token; then as SIMPLE.
    """

    NONE = "none"
    SIMPLE = "simple"
    FIRST = "first"
    AVERAGE = "average"
    MAX = "max"

    @property
    def by_word(self) -> bool:
        return self in (AggregationStrategy.FIRST, AggregationStrategy.AVERAGE, AggregationStrategy.MAX)


def strategy_of(given: Any) -> AggregationStrategy:
    """A strategy from itself or its name. Raises: InputError"""
    name = str(getattr(given, "value", given)).lower()
    known = [strategy.value for strategy in AggregationStrategy]
    if name not in known:
        raise InputError(f"`aggregation_strategy={given!r}` is not one of {', '.join(known)}.{did_you_mean(name, known)}")
    return AggregationStrategy(name)


@dataclass
class LabelledToken:
    """A token of a text, with the scores of all labels."""

    word: str
    scores: Tensor
    """(labels,), a distribution."""
    index: int
    start: int | None
    """First character, and the one behind the last; None without offsets."""
    end: int | None
    goes_on: bool
    """It continues the word of the token before."""


@dataclass
class _Word:
    label: str
    score: float
    text: str
    start: int | None
    end: int | None


def entities_of(
    tokens: Sequence[LabelledToken], strategy: AggregationStrategy, labels: Mapping[int, str], tokenizer: Any
) -> list[dict[str, Any]]:
    """What the pipeline returns for tokens; labels that nobody wants are still among it."""
    if strategy is AggregationStrategy.NONE:
        return [
            {
                "entity": labels[int(token.scores.argmax())],
                "score": float(token.scores.max()),
                "index": token.index,
                "word": token.word,
                "start": token.start,
                "end": token.end,
            }
            for token in tokens
        ]
    if strategy.by_word:
        words = [_agreed(word, strategy, labels, tokenizer) for word in _words(tokens)]
    else:
        words = [
            _Word(labels[int(token.scores.argmax())], float(token.scores.max()), token.word, token.start, token.end)
            for token in tokens
        ]
    return [_group(words, tokenizer) for words in _groups(words)]


def _words(tokens: Sequence[LabelledToken]) -> list[list[LabelledToken]]:
    words: list[list[LabelledToken]] = []
    for token in tokens:
        if token.goes_on and words:
            words[-1].append(token)
        else:
            words.append([token])
    return words


def _agreed(tokens: Sequence[LabelledToken], strategy: AggregationStrategy, labels: Mapping[int, str], tokenizer: Any) -> _Word:
    """The tokens of one word with one label."""
    if strategy is AggregationStrategy.FIRST:
        scores = tokens[0].scores
    elif strategy is AggregationStrategy.MAX:
        scores = max((token.scores for token in tokens), key=lambda scores: float(scores.max()))
    else:
        scores = torch.stack([token.scores for token in tokens]).mean(0)
    text = tokenizer.convert_tokens_to_string([token.word for token in tokens])
    return _Word(labels[int(scores.argmax())], float(scores.max()), text, tokens[0].start, tokens[-1].end)


def _tag(label: str) -> tuple[bool, str]:
    """Whether a label begins an entity (IOB: `B-PER`), and the entity's kind; labels of another form go on."""
    prefix, dash, kind = label.partition("-")
    return (prefix == "B", kind) if dash and prefix in ("B", "I") else (False, label)


def _groups(words: Iterable[_Word]) -> list[list[_Word]]:
    """Neighbours of one kind, as long as none begins anew."""
    groups: list[list[_Word]] = []
    for word in words:
        begins, kind = _tag(word.label)
        if groups and not begins and _tag(groups[-1][-1].label)[1] == kind:
            groups[-1].append(word)
        else:
            groups.append([word])
    return groups


def _group(words: Sequence[_Word], tokenizer: Any) -> dict[str, Any]:
    return {
        "entity_group": words[0].label.split("-", 1)[-1],
        "score": sum(word.score for word in words) / len(words),
        "word": tokenizer.convert_tokens_to_string([word.text for word in words]),
        "start": words[0].start,
        "end": words[-1].end,
    }


def merge_overlaps(entities: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of entities that overlap, as parts of a text with a stride give them, the longest, then the likeliest."""
    kept: list[dict[str, Any]] = []
    for entity in sorted(entities, key=lambda each: each["start"]):
        if kept and entity["start"] < kept[-1]["end"]:
            if _weight(entity) > _weight(kept[-1]):
                kept[-1] = entity
        else:
            kept.append(entity)
    return kept


def _weight(entity: Mapping[str, Any]) -> tuple[int, float]:
    return entity["end"] - entity["start"], entity["score"]
