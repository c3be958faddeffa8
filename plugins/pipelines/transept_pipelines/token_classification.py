"""`token-classification`, also called `ner`: labels for the tokens or words of a text."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, ClassVar

from transept.errors import InputError

from .base import ChunkPipeline
from .entities import AggregationStrategy, LabelledToken, entities_of, merge_overlaps, strategy_of
from .inputs import Inputs, sort_inputs
from .model_inputs import fitting, knows_characters

__all__ = ["TokenClassificationPipeline"]

_NOT_THE_MODELS = ("special_tokens_mask", "offset_mapping", "sentence", "starts", "overflow_to_sample_mapping")


class TokenClassificationPipeline(ChunkPipeline):
    """Label the tokens of texts with a token classification model.

    - `aggregation_strategy`: `"none"`, `"simple"`, `"first"`, `"average"`, `"max"`; see `AggregationStrategy`.
    - `ignore_labels`: labels to leave out, `["O"]` by default.
    - `stride`: read a long text in parts that share that many tokens; without it, what is longer than the model takes is cut
      off, with a warning.
    - `is_split_into_words`: an input is a list of words, joined by `delimiter` (a space) to the text that offsets count in.
    - `offset_mapping`: (start, end) of each token of the one text, for tokenizers that know no offsets.

    Returns:
        For each text a list of dicts: without aggregation `{"entity", "score", "index", "word", "start", "end"}` a token, else
        `{"entity_group", "score", "word", "start", "end"}` an entity. `start` and `end` are characters, None where unknown.
    """

    represents_head: ClassVar[bool] = True

    def __call__(self, inputs: Any, **parameters: Any) -> Any:
        split = {**self._made_with[0], **parameters}.get("is_split_into_words")
        if split and isinstance(inputs, list | tuple) and inputs and all(isinstance(word, str) for word in inputs):
            return super().__call__([inputs], **parameters)
        return super().__call__(inputs, **parameters)

    def sort_inputs(self, inputs: Any) -> Inputs:
        return sort_inputs(inputs)

    def preprocess(
        self,
        item: Any,
        *,
        stride: int | None = None,
        aggregation_strategy: Any = AggregationStrategy.NONE,
        is_split_into_words: bool = False,
        delimiter: str | None = None,
        offset_mapping: Sequence[tuple[int, int]] | None = None,
    ) -> Iterator[dict[str, Any]]:
        self._check(strategy_of(aggregation_strategy), stride, is_split_into_words)
        sentence, starts = self._sentence(item, is_split_into_words, " " if delimiter is None else delimiter)
        limited = self.tokenizer.model_max_length < 1 << 30
        encoded = self.tokenizer(
            item if is_split_into_words else sentence,
            truncation=limited,
            is_split_into_words=is_split_into_words,
            return_special_tokens_mask=True,
            return_offsets_mapping=self._has_offsets,
            return_tensors="pt",
            **({"return_overflowing_tokens": True, "stride": stride, "padding": True} if stride is not None else {}),
        )
        self.check_not_empty(encoded, sentence)
        if stride is None and self._has_offsets and any(encoding.overflowing for encoding in encoded.encodings or ()):
            warnings.warn(
                f"A text is longer than the {self.tokenizer.model_max_length} tokens that the model takes, and its end was cut off: "
                'pass `stride=` (and an `aggregation_strategy` other than "none") to read it in parts.',
                stacklevel=2,
            )
        for row in range(encoded["input_ids"].shape[0]):
            inputs = {name: value[row : row + 1] for name, value in encoded.items() if name != "overflow_to_sample_mapping"}
            if offset_mapping is not None:
                inputs["offset_mapping"] = encoded["input_ids"].new_tensor(offset_mapping)[None]
            if starts is not None:  # where each token's word begins in the sentence; offsets count from there
                words = encoded.word_ids(row)
                moved = encoded["input_ids"].new_tensor([0 if word is None else starts[word] for word in words])
                inputs["offset_mapping"] = inputs["offset_mapping"] + moved[None, :, None]
            yield {**inputs, "sentence": sentence}

    @cached_property
    def _has_offsets(self) -> bool:
        return knows_characters(self.tokenizer)

    def _check(self, strategy: AggregationStrategy, stride: int | None, split: bool) -> None:
        if not self._has_offsets and (strategy.by_word or stride is not None or split):
            what = "`stride`" if stride is not None else "`is_split_into_words`" if split else f"`{strategy.value}`"
            raise InputError(
                f"{what} needs to know which characters a token stands for, and this tokenizer does not: use another, such as the fast one."
            )
        if stride is not None and strategy is AggregationStrategy.NONE:
            raise InputError(
                '`stride` joins the parts of a text by their entities: pass an `aggregation_strategy`, as "simple".'
            )
        if stride is not None and not 0 <= stride < self.tokenizer.model_max_length:
            raise InputError(f"`stride` is {stride}: from 0 to below `tokenizer.model_max_length`.")

    def _sentence(self, item: Any, split: bool, delimiter: str) -> tuple[str, list[int] | None]:
        """The text that offsets count in, and where each word of one that came in words begins."""
        if not split:
            return self.check_text(item), None
        if not isinstance(item, list | tuple) or not all(isinstance(word, str) for word in item):
            raise InputError(f"With `is_split_into_words` an input is a list of words, not `{item!r:.60}`.")
        starts, length = [], 0
        for word in item:
            starts.append(length)
            length += len(word) + len(delimiter)
        return delimiter.join(item), starts

    def _forward(self, inputs: dict[str, Any]) -> dict[str, Any]:
        kept = {name: inputs.get(name) for name in ("special_tokens_mask", "offset_mapping", "sentence", "input_ids")}
        given = {name: value for name, value in inputs.items() if name not in _NOT_THE_MODELS}
        return {**kept, "logits": self.model(**fitting(self.model, given)).logits}

    def postprocess(
        self,
        outputs: list[dict[str, Any]],
        *,
        aggregation_strategy: Any = AggregationStrategy.NONE,
        ignore_labels: Sequence[str] | None = None,
    ) -> list[dict[str, Any]]:
        strategy, ignored = strategy_of(aggregation_strategy), ["O"] if ignore_labels is None else ignore_labels
        found: list[dict[str, Any]] = []
        for part in outputs:
            tokens = self._tokens(part, strategy)
            found += [
                entity
                for entity in entities_of(tokens, strategy, self.model.config.id2label, self.tokenizer)
                if entity.get("entity") not in ignored and entity.get("entity_group") not in ignored
            ]
        return merge_overlaps(found) if len(outputs) > 1 else found

    def _tokens(self, part: dict[str, Any], strategy: AggregationStrategy) -> list[LabelledToken]:
        scores = part["logits"][0].float().softmax(-1)  # (seq, labels)
        ids, special = part["input_ids"][0].tolist(), part["special_tokens_mask"][0].tolist()
        offsets = part["offset_mapping"][0].tolist() if part["offset_mapping"] is not None else None
        tokens = []
        for index, (token, skipped) in enumerate(zip(ids, special, strict=True)):
            if skipped:
                continue
            word, goes_on = self.tokenizer.convert_ids_to_tokens(token), False
            start, end = offsets[index] if offsets is not None else (None, None)
            if start is not None and end is not None:
                if token == self.tokenizer.unk_token_id:
                    word = part["sentence"][start:end]
                else:
                    goes_on = self._goes_on(word, part["sentence"], start, end)
            tokens.append(LabelledToken(word, scores[index], index, start, end, goes_on))
        return tokens

    @cached_property
    def _marks_subwords(self) -> bool:
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is not None:
            return bool(getattr(backend.model, "continuing_subword_prefix", None))
        return any(token.startswith("##") for token in self.tokenizer.get_vocab())

    def _goes_on(self, word: str, sentence: str, start: int, end: int) -> bool:
        """Whether a token continues a word: by the vocabulary's mark (`##`), else when no space is before it."""
        if self._marks_subwords:
            return len(word) != end - start
        return start > 0 and " " not in sentence[start - 1 : start + 1]
