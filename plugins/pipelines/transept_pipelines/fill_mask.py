"""`fill-mask`: what stands behind a mask token."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from transept.errors import InputError

from .base import Pipeline
from .model_inputs import fitting

__all__ = ["FillMaskPipeline"]


class FillMaskPipeline(Pipeline):
    """Fill the masks of a text with a masked language model.

    - `top_k`: how many proposals for each mask; 5.
    - `targets`: words, or one, among which to choose. A word that is no token stands for its first one, with a warning.
    - `tokenizer_kwargs`: arguments of the tokenizer.

    Returns:
        For each text a list of `{"score", "token", "token_str", "sequence"}`, the likeliest first; a list of such lists where
        it has several masks, whose proposals don't know of each other.

    Raises:
        InputError: a text without a mask, or a tokenizer that has none.
    """

    represents_head: ClassVar[bool] = True

    def __init__(self, model: Any, *components: Any, **parameters: Any) -> None:
        super().__init__(model, *components, **parameters)
        if self.tokenizer.mask_token_id is None:
            raise InputError("The tokenizer has no `mask_token`, so no text can have a mask to fill: use a masked model's own.")

    def __call__(self, inputs: Any, **parameters: Any) -> Any:
        found = super().__call__(inputs, **parameters)
        return found[0] if isinstance(inputs, list | tuple) and len(inputs) == 1 else found

    def preprocess(self, item: Any, *, tokenizer_kwargs: Mapping[str, Any] | None = None) -> dict[str, Any]:
        text = self.check_text(item)
        encoded = self.tokenizer(text, return_tensors="pt", **(tokenizer_kwargs or {}))
        if not bool((encoded["input_ids"] == self.tokenizer.mask_token_id).any()):
            raise InputError(f"There is no `{self.tokenizer.mask_token}` in {text!r:.80}: put one where a word is missing.")
        return dict(encoded)

    def _forward(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {"logits": self.model(**fitting(self.model, inputs)).logits, "input_ids": inputs["input_ids"]}

    def postprocess(self, outputs: dict[str, Any], *, top_k: int = 5, targets: str | Sequence[str] | None = None) -> list[Any]:
        if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1:
            raise InputError(f"`top_k` is a number of proposals from 1 up, not {top_k!r}.")
        ids = outputs["input_ids"][0]  # (seq,)
        places = (ids == self.tokenizer.mask_token_id).nonzero()[:, 0]
        scores = outputs["logits"][0, places].float().softmax(-1)  # (masks, vocab)
        among = None if targets is None else ids.new_tensor(self._target_ids(targets))
        scores = scores if among is None else scores[:, among]
        best = scores.topk(min(top_k, scores.shape[-1]))
        tokens = best.indices if among is None else among[best.indices]
        rows = [
            [self._proposal(ids, place, score, token, alone=len(places) == 1) for score, token in zip(*pair, strict=True)]
            for place, *pair in zip(places.tolist(), best.values.tolist(), tokens.tolist(), strict=True)
        ]
        return rows[0] if len(rows) == 1 else rows

    def _proposal(self, ids: Tensor, place: int, score: float, token: int, *, alone: bool) -> dict[str, Any]:
        filled = ids.clone()
        filled[place] = token
        if self.tokenizer.pad_token_id is not None:
            filled = filled[filled != self.tokenizer.pad_token_id]
        # other masks are special tokens too, and would be gone
        text = self.tokenizer.decode(filled, skip_special_tokens=alone)
        return {"score": score, "token": token, "token_str": self.tokenizer.decode([token]), "sequence": text}

    def _target_ids(self, targets: str | Sequence[str]) -> list[int]:
        vocabulary, found = self.tokenizer.get_vocab(), []
        for word in [targets] if isinstance(targets, str) else targets:
            token = vocabulary.get(word)
            if token is None:
                ids = self.tokenizer(word, add_special_tokens=False)["input_ids"]
                if not ids:
                    warnings.warn(f"The target {word!r} has no tokens: it is left out.", stacklevel=2)
                    continue
                token = ids[0]
                said = self.tokenizer.convert_ids_to_tokens(token)
                warnings.warn(f"The target {word!r} is no token of the vocabulary: `{said}` stands for it.", stacklevel=2)
            found.append(token)
        if not found:
            raise InputError("No word of `targets` is known to the tokenizer: give others, or leave it out.")
        return list(dict.fromkeys(found))
