"""`question-answering`: the part of a text that answers a question.

Devlin et al., BERT, arXiv:1810.04805, section 4.2 and 4.3: the likeliest span of a start and an end; a long text is read in
windows that overlap, and the first token stands for "there is no answer".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from transept.errors import InputError, did_you_mean

from .base import ChunkPipeline
from .inputs import Inputs, sort_inputs
from .model_inputs import fitting, knows_characters

__all__ = ["QuestionAnsweringPipeline", "best_spans"]

_LOWEST = -10000.0
"""Logit of a token that cannot be part of an answer."""


class QuestionAnsweringPipeline(ChunkPipeline):
    """Answer questions from a text: `pipe(question=…, context=…)`, or `pipe({"question": …, "context": …})`, or a list of those.

    - `top_k`: how many answers; 1.
    - `max_answer_len`: an answer's most tokens; 15.
    - `max_seq_len`: tokens of question and window together; 384, or what the model takes. `doc_stride`: tokens that windows
      share; 128, or half a window. `max_question_len`: a longer question is cut; 64 tokens.
    - `handle_impossible_answer`: "no answer" competes, as an empty one.
    - `align_to_words`: an answer begins and ends with whole words.

    A score is the probability of the start times that of the end, in the window that holds them; a span that two windows see
    counts once.

    Returns:
        For each question `{"score", "start", "end", "answer"}`, `start` and `end` in characters of the context; with
        `top_k` above 1 a list of them, the likeliest first.
    """

    represents_head: ClassVar[bool] = True

    def __call__(self, inputs: Any = None, *, question: Any = None, context: Any = None, **parameters: Any) -> Any:
        if question is not None or context is not None:
            if inputs is not None:
                raise InputError("Give a question and its context by name, or as one input, not both.")
            inputs = _paired(question, context)
        return super().__call__(inputs, **parameters)

    def sort_inputs(self, inputs: Any) -> Inputs:
        return sort_inputs(inputs, lambda item: hasattr(item, "question_text"))

    def preprocess(
        self,
        item: Any,
        *,
        max_seq_len: int | None = None,
        doc_stride: int | None = None,
        max_question_len: int = 64,
    ) -> Iterator[dict[str, Any]]:
        question, context = _question_of(item)
        if not self._has_offsets:
            raise InputError(
                "Question answering needs to know which characters a token stands for, and this tokenizer does not say: use the fast one."
            )
        question = self._cut(question, max_question_len)
        length = min(384 if max_seq_len is None else max_seq_len, self.tokenizer.model_max_length, self._positions())
        special = self.tokenizer.num_special_tokens_to_add(pair=True)
        left = length - len(self.tokenizer(question, add_special_tokens=False)["input_ids"]) - special
        stride = max(min(length // 2, 128, left - 1), 0) if doc_stride is None else doc_stride
        if left < 1 or not 0 <= stride < left:
            raise InputError(
                f"In {length} tokens there is no room for the question, a window and a `doc_stride` of {stride}: "
                "enlarge `max_seq_len`, or lower `doc_stride`."
            )
        encoded = self.tokenizer(
            question,
            context,
            truncation="only_second",
            max_length=length,
            stride=stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            padding=True,
            return_tensors="pt",
        )
        for row in range(encoded["input_ids"].shape[0]):
            of_context = torch.tensor([[part == 1 for part in encoded.sequence_ids(row)]])
            names = (name for name in encoded if name != "overflow_to_sample_mapping")
            spans = [
                encoded.word_to_chars(row, word, 1) if word is not None and inside else (0, 0)
                for word, inside in zip(encoded.word_ids(row), of_context[0].tolist(), strict=True)
            ]
            yield {
                **{name: encoded[name][row : row + 1] for name in names},
                "of_context": of_context,
                "words": torch.tensor([spans]),
                "context": context,
            }

    @cached_property
    def _has_offsets(self) -> bool:
        return knows_characters(self.tokenizer)

    def _positions(self) -> int:
        return getattr(self.model.config, "max_position_embeddings", None) or 1 << 30

    def _cut(self, question: str, most: int) -> str:
        """A question's first tokens, as text."""
        offsets = self.tokenizer(question, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        return question[: offsets[most - 1][1]] if len(offsets) > most else question

    def _forward(self, inputs: dict[str, Any]) -> dict[str, Any]:
        kept = {name: inputs.pop(name) for name in ("of_context", "words", "context", "offset_mapping")}
        outputs = self.model(**fitting(self.model, inputs))
        return {
            **kept,
            "start_logits": outputs.start_logits,
            "end_logits": outputs.end_logits,
            "input_ids": inputs["input_ids"],
        }

    def postprocess(
        self,
        outputs: list[dict[str, Any]],
        *,
        top_k: int = 1,
        max_answer_len: int = 15,
        handle_impossible_answer: bool = False,
        align_to_words: bool = True,
    ) -> dict[str, Any] | list[dict[str, Any]]:
        for name, value in (("top_k", top_k), ("max_answer_len", max_answer_len)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"`{name}` is a number from 1 up, not {value!r}.")
        context: str = outputs[0]["context"]
        found: dict[tuple[int, int], float] = {}
        no_answer = 1.0
        for window in outputs:
            start, end = self._probabilities(window)
            inside = window["of_context"][0]
            nothing = self._stands_for_nothing(window)
            if bool(nothing.any()):
                no_answer = min(no_answer, float(start[nothing][0] * end[nothing][0]))
            for first, last, score in best_spans(start * inside, end * inside, top_k, max_answer_len):
                span = self._characters(window, first, last, align_to_words)
                found[span] = max(score, found.get(span, 0.0))
        answers: list[dict[str, Any]] = [
            {"score": score, "start": start, "end": end, "answer": context[start:end]} for (start, end), score in found.items()
        ]
        if handle_impossible_answer and self.tokenizer.cls_token_id is not None:
            answers.append({"score": no_answer, "start": 0, "end": 0, "answer": ""})
        answers.sort(key=lambda answer: -answer["score"])
        if top_k == 1:
            return answers[0] if answers else {"score": 0.0, "start": 0, "end": 0, "answer": ""}
        return answers[:top_k]

    def _probabilities(self, window: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Of each token to be the start, and the end: (seq,) each; the question has none, the token for "no answer" has."""
        possible = window["of_context"][0] | self._stands_for_nothing(window)
        start, end = (
            torch.where(possible, window[name][0].float(), _LOWEST).softmax(-1) for name in ("start_logits", "end_logits")
        )
        return start, end

    def _stands_for_nothing(self, window: Mapping[str, Any]) -> Tensor:
        """Whether a token is the first one, which stands for "no answer": (seq,); none is where the tokenizer has no such."""
        token = self.tokenizer.cls_token_id
        ids: Tensor = window["input_ids"][0]
        return torch.zeros_like(ids, dtype=torch.bool) if token is None else ids == token

    def _characters(self, window: Mapping[str, Any], first: int, last: int, align: bool) -> tuple[int, int]:
        places = window["words" if align else "offset_mapping"][0]
        return int(places[first, 0]), int(places[last, 1])


def best_spans(start: Tensor, end: Tensor, count: int, longest: int) -> list[tuple[int, int, float]]:
    """The likeliest spans.

    Args:
        start, end: probabilities (seq,); 0 where none may begin or end.
        count: how many.
        longest: the most tokens of one.

    Returns:
        (first, last, score), the likeliest first; spans of probability 0 are none.
    """
    scores = (start[:, None] * end[None, :]).triu().tril(longest - 1)  # (first, last)
    best = scores.flatten().topk(min(count, scores.numel()))
    places = (divmod(place, scores.shape[1]) for place in best.indices.tolist())
    return [(first, last, score) for (first, last), score in zip(places, best.values.tolist(), strict=True) if score > 0]


def _paired(question: Any, context: Any) -> Any:
    """Questions and contexts given by name, as inputs: one each, as many of both, or one context for several questions."""
    if isinstance(question, str) and isinstance(context, str):
        return {"question": question, "context": context}
    questions = [question] if isinstance(question, str) else list(question or ())
    contexts = [context] * len(questions) if isinstance(context, str) else list(context or ())
    if isinstance(question, str):
        questions *= len(contexts)
    if len(questions) != len(contexts) or not questions:
        raise InputError(f"There are {len(questions)} questions and {len(contexts)} contexts: give both, as many of each.")
    return [{"question": each, "context": text} for each, text in zip(questions, contexts, strict=True)]


def _question_of(item: Any) -> tuple[str, str]:
    """Question and context of an input: a mapping, or an object with `question_text` and `context_text`."""
    if hasattr(item, "question_text"):
        item = {"question": item.question_text, "context": item.context_text}
    if not isinstance(item, Mapping):
        raise InputError(
            f'A question comes with its text, as `{{"question": …, "context": …}}`; an input is a `{type(item).__name__}`.'
        )
    for key in ("question", "context"):
        if key not in item:
            raise InputError(f"An input has no `{key}`.{did_you_mean(key, item)} It needs `question` and `context`.")
        if not isinstance(item[key], str) or not item[key].strip():
            raise InputError(f"The `{key}` of an input is empty, or no text: {item[key]!r:.60}.")
    return item["question"], item["context"]
