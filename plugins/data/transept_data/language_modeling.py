"""Batches for language models: the next token, or masked tokens (BERT, arXiv:1810.04805, section 3.1)."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from transept.errors import InputError

from .chance import Chance
from .examples import IGNORED, check_kind, check_some, fill_rows, mappings, plain, take

__all__ = ["DataCollatorForLanguageModeling", "DataCollatorForWholeWordMask"]


@dataclass
class DataCollatorForLanguageModeling:
    """Fills inputs and makes labels of them.

    With `mlm`, some tokens are chosen; of those, some become the mask token, some a random one, and the others stay. Labels
    are the chosen tokens, -100 elsewhere. Without `mlm`, labels are the inputs, -100 where the padding token stands.

    The same `seed` gives the same masks, batch after batch, and those that Hugging Face Transformers makes of it; each worker
    of a `DataLoader` has a seed of its own, `seed` + its number. Without a seed chance is the process's.

    Args:
        tokenizer: anything with the peer's `pad`, and for `mlm` a mask token.
        mlm: mask tokens; False: next-token prediction.
        whole_word_mask: choose words, and mask all of their tokens. Needs `offset_mapping` in the examples.
        mlm_probability: of a token (or word) to be chosen.
        mask_replace_prob, random_replace_prob: of a chosen token to become the mask token, or a random one. With whole words
            every chosen token becomes the mask token.
        pad_to_multiple_of: round the length up to a multiple.
        return_tensors: "pt" for tensors, "np" for arrays.
        seed: see above.

    Examples are mappings, or rows of ids. `special_tokens_mask` (1 at what must not be chosen) is used up where they have it,
    else the tokenizer's `get_special_tokens_mask` is asked.

    Raises:
        InputError: probabilities out of range, no mask token, no padding token where one is needed, no examples.
    """

    tokenizer: Any
    mlm: bool = True
    whole_word_mask: bool = False
    mlm_probability: float | None = 0.15
    mask_replace_prob: float = 0.8
    random_replace_prob: float = 0.1
    pad_to_multiple_of: int | None = None
    return_tensors: str = "pt"
    seed: int | None = None

    def __post_init__(self) -> None:
        check_kind(self.return_tensors)
        self._chances: dict[tuple[str, int], Chance] = {}
        if self.whole_word_mask and not self.mlm:
            raise InputError("`whole_word_mask=True` contradicts `mlm=False`. Leave one of the two out.")
        if self.mlm and getattr(self.tokenizer, "mask_token", None) is None:
            text = f"`{type(self.tokenizer).__name__}` has no mask token, which masked language modelling needs."
            raise InputError(f"{text} Set `mlm=False` for next-token prediction.")
        for name in ("mlm_probability", "mask_replace_prob", "random_replace_prob"):
            value = getattr(self, name)
            if (value is None and self.mlm) or (value is not None and not 0 <= value <= 1):
                raise InputError(f"`{name}` has to be a number from 0 to 1, and is {value!r}.")
        if self.mask_replace_prob + self.random_replace_prob > 1:
            both = f"`mask_replace_prob={self.mask_replace_prob}` and `random_replace_prob={self.random_replace_prob}`"
            raise InputError(f"{both} are more than 1 together. Lower one of the two.")
        if self.whole_word_mask and self.mask_replace_prob < 1:
            if (self.mask_replace_prob, self.random_replace_prob) != (0.8, 0.1):
                warnings.warn("With whole words every chosen token becomes the mask token.", UserWarning, stacklevel=3)
            self.mask_replace_prob, self.random_replace_prob = 1.0, 0.0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_chances": {}}  # a worker starts its own

    def __call__(self, features: Sequence[Any], return_tensors: str | None = None) -> Any:
        kind = check_kind(return_tensors or self.return_tensors)
        batch, special, offsets = self._filled(features, kind)
        ids = torch.as_tensor(batch["input_ids"])
        if self.mlm:
            ids, labels = self._masked(ids, self._unmaskable(ids, special), offsets, self._chance(kind))
        else:
            padding = getattr(self.tokenizer, "pad_token_id", None)
            labels = ids.clone() if padding is None else ids.masked_fill(ids == padding, IGNORED)
        batch["input_ids"], batch["labels"] = (ids, labels) if kind == "pt" else (ids.numpy(), labels.numpy())
        return batch

    def _filled(self, features: Sequence[Any], kind: str) -> tuple[Any, Any, Tensor | None]:
        """The batch; which tokens are special, (batch, length), where the examples say so; and the offsets, where they have some."""
        check_some(features)
        rows_only = not isinstance(features[0], Mapping)
        examples = [{"input_ids": row} for row in features] if rows_only else mappings(features)
        offsets, rest = take(examples, "offset_mapping")
        batch = fill_rows(self.tokenizer, rest, kind, pad_to_multiple_of=self.pad_to_multiple_of, owner=type(self).__name__)
        if rows_only:
            batch = {"input_ids": batch["input_ids"]}
        special = batch.pop("special_tokens_mask", None)
        if not self.whole_word_mask:
            return batch, special, None
        if offsets is None:
            raise InputError("`whole_word_mask` needs `offset_mapping`: tokenize with `return_offsets_mapping=True`.")
        spans = torch.zeros((*batch["input_ids"].shape, 2), dtype=torch.long)
        for filled, row in zip(spans, offsets, strict=True):
            start = len(filled) - len(row) if self.tokenizer.padding_side == "left" else 0
            filled[start : start + len(row)] = torch.as_tensor(plain(row))
        return batch, special, spans

    def _unmaskable(self, ids: Tensor, special: Any) -> Tensor:
        if special is None:
            ask = self.tokenizer.get_special_tokens_mask
            special = [ask(row, already_has_special_tokens=True) for row in ids.tolist()]
        return torch.as_tensor(special).bool()

    def _masked(self, ids: Tensor, special: Tensor, offsets: Tensor | None, chance: Chance) -> tuple[Tensor, Tensor]:
        """Ids with what is to be guessed covered, and labels; both (batch, length)."""
        words = None if offsets is None else _words(offsets, special)
        closed = special if words is None else ~words[1]
        chosen = chance.flip(self.mlm_probability or 0.0, ids.shape, never=closed)
        if words is not None:
            chosen = _whole(words[0], chosen)
        labels = ids.masked_fill(~chosen, IGNORED)
        covered = chance.flip(self.mask_replace_prob, ids.shape) & chosen
        ids = ids.masked_fill(covered, self.tokenizer.convert_tokens_to_ids(self.tokenizer.mask_token))
        if self.mask_replace_prob < 1 and self.random_replace_prob > 0:
            share = self.random_replace_prob / (1 - self.mask_replace_prob)  # of those that are left
            replaced = chance.flip(share, ids.shape) & chosen & ~covered
            ids[replaced] = chance.ids(len(self.tokenizer), replaced)
        return ids, labels

    def _chance(self, kind: str) -> Chance:
        if self.seed is None:
            return Chance(kind, None)
        worker = torch.utils.data.get_worker_info()
        if worker is None and multiprocessing.current_process().name != "MainProcess":
            text = "`seed` cannot tell this process from its siblings, which would mask alike."
            raise InputError(f"{text} Use a torch `DataLoader` for the workers, or one process.")
        number = -1 if worker is None else worker.id
        if (kind, number) not in self._chances:
            self._chances[kind, number] = Chance(kind, self.seed + max(number, 0))
        return self._chances[kind, number]


@dataclass
class DataCollatorForWholeWordMask(DataCollatorForLanguageModeling):
    """`DataCollatorForLanguageModeling` with `whole_word_mask=True`."""

    whole_word_mask: bool = True


def _words(offsets: Tensor, special: Tensor) -> tuple[Tensor, Tensor]:
    """For each token the number of its word from 1 on, 0 for special ones, LongTensor (batch, length); and whether it begins one.

    A word begins where a token does not touch the one before, or comes after a special one.
    """
    begin, end = offsets.unbind(-1)
    before = torch.cat((torch.full_like(end[:, :1], -1), end[:, :-1]), 1)
    after_special = torch.cat((torch.zeros_like(special[:, :1]), special[:, :-1]), 1)
    begins = ~special & ((begin != before) | after_special)
    return begins.long().cumsum(1).masked_fill(special, 0), begins


def _whole(words: Tensor, chosen: Tensor) -> Tensor:
    """Chosen tokens, and all others of their words."""
    flags = torch.zeros((words.shape[0], words.shape[1] + 1), dtype=torch.long)
    flags = flags.scatter_reduce(1, words, chosen.long(), "amax")
    flags[:, 0] = 0
    return flags.gather(1, words).bool()
