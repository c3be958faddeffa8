"""Where a tokenizer puts its special tokens, told from what it does to a probe; and ids put in their places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transept.errors import TokenizerError
from transept_tokenizers.tokenization import PreTrainedTokenizerBase, Truncation

__all__ = ["SpecialTokenLayout"]


class SpecialTokenLayout(PreTrainedTokenizerBase):
    """The part of a tokenizer that puts special tokens around ids that were made without."""

    def _layout(self, pair: bool) -> list[tuple[int | None, int, int]]:
        """Where special tokens go: (text's number or None, id, type id) for each token around a one-token probe."""
        (encoding,) = self._encode_batch(
            [("a", "a") if pair else "a"],
            add_special_tokens=True,
            is_split_into_words=False,
            truncation=None,
            split_special_tokens=False,
        )
        layout: list[tuple[int | None, int, int]] = []
        for which, index, kind in zip(encoding.sequence_ids, encoding.ids, encoding.type_ids, strict=True):
            if which is None or not layout or layout[-1][0] != which:
                layout.append((which, index, kind))
        return layout

    def build_inputs_with_special_tokens(self, token_ids_0: list[int], token_ids_1: list[int] | None = None) -> list[int]:
        """Put the special tokens around and between ids that have none."""
        texts = {0: token_ids_0, 1: token_ids_1 or []}
        layout = self._layout(token_ids_1 is not None)
        return [each for which, index, _ in layout for each in ([index] if which is None else texts[which])]

    def create_token_type_ids_from_sequences(self, token_ids_0: list[int], token_ids_1: list[int] | None = None) -> list[int]:
        """Type ids of what `build_inputs_with_special_tokens` returns."""
        lengths = {None: 1, 0: len(token_ids_0), 1: len(token_ids_1 or [])}
        return [kind for which, _, kind in self._layout(token_ids_1 is not None) for _ in range(lengths[which])]

    def get_special_tokens_mask(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None, already_has_special_tokens: bool = False
    ) -> list[int]:
        """1 for special tokens, 0 for others: of ids that have them already, or of what they become with them."""
        if already_has_special_tokens:
            if token_ids_1 is not None:
                raise TokenizerError("`token_ids_1` cannot be given where the special tokens are in `token_ids_0` already.")
            special = set(self.all_special_ids)
            return [int(int(index) in special) for index in token_ids_0]
        lengths = {None: 1, 0: len(token_ids_0), 1: len(token_ids_1 or [])}
        return [int(which is None) for which, *_ in self._layout(token_ids_1 is not None) for _ in range(lengths[which])]

    def _check_truncation(self, texts: Sequence[Any], truncation: Truncation, add_special_tokens: bool) -> None:
        """Refuse lengths that leave no room for a text beside its special tokens and stride."""
        pair = any(isinstance(text, (list, tuple)) and len(text) == 2 for text in texts)
        if truncation.strategy == "only_second" and not pair:
            raise TokenizerError('`truncation="only_second"` needs pairs of texts: give `text_pair`.')
        special = self.num_special_tokens_to_add(pair) if add_special_tokens else 0
        room = truncation.max_length - special
        if room < 0 or (truncation.stride and truncation.stride >= room):
            raise TokenizerError(
                f"`max_length` is {truncation.max_length}: {special} special tokens and a `stride` of {truncation.stride} do not "
                "fit in. Give a larger one."
            )
