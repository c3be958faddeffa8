"""GPT-2's tokenizers: byte-level BPE over `vocab.json` and `merges.txt` (Radford et al. 2019), in plain Python and over the
`tokenizers` library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transept_tokenizers.byte_level import ByteLevelTokenizer, ByteLevelTokenizerFast
from transept_tokenizers.tokenization.added_token import as_added_token

from transept.errors import TokenizerError

__all__ = ["GPT2Tokenizer", "GPT2TokenizerFast"]

_END = "<|endoftext|>"
_SPECIAL = {"unk_token": _END, "bos_token": _END, "eos_token": _END}


class GPT2Tokenizer(ByteLevelTokenizer):
    """GPT-2's tokenizer in plain Python. A word with a space before it is another token than the same word without.

    Args:
        add_bos_token, add_eos_token: put that token around each text.
        others: those of `ByteLevelTokenizer`: `vocab_file`, `merges_file`, `errors`, `add_prefix_space`, …
    """

    decided_by_file = ("add_prefix_space", "add_bos_token", "add_eos_token")
    default_special_tokens = _SPECIAL

    def __init__(self, *files: Any, add_bos_token: bool = False, add_eos_token: bool = False, **settings: Any) -> None:
        self.add_bos_token = add_bos_token
        self.add_eos_token = add_eos_token
        super().__init__(*files, **settings)

    def _around(self, ids: list[int]) -> list[int]:
        first = [self._edge("bos_token")] if self.add_bos_token else []
        last = [self._edge("eos_token")] if self.add_eos_token else []
        return [*first, *ids, *last]

    def _edge(self, name: str) -> int:
        index: int | None = getattr(self, f"{name}_id")
        if index is None:
            raise TokenizerError(f"`add_{name}` needs a `{name}`, which is not set.")
        return index

    def build_inputs_with_special_tokens(self, token_ids_0: list[int], token_ids_1: list[int] | None = None) -> list[int]:
        """The ids, each text between `bos_token` and `eos_token` where those are asked for."""
        return self._around(token_ids_0) + ([] if token_ids_1 is None else self._around(token_ids_1))

    def create_token_type_ids_from_sequences(self, token_ids_0: list[int], token_ids_1: list[int] | None = None) -> list[int]:
        """0 for the first text with its special tokens, 1 for the second."""
        return [0] * len(self._around(token_ids_0)) + [1] * (0 if token_ids_1 is None else len(self._around(token_ids_1)))

    @classmethod
    def _read_processor(cls, processor: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any] | None:
        """Whether a post-processor puts `bos_token` before a text and `eos_token` after it."""
        if processor.get("type") in (None, "ByteLevel"):
            return {"add_bos_token": False, "add_eos_token": False}
        if processor.get("type") != "TemplateProcessing":
            return None
        names = [piece["SpecialToken"]["id"] if "SpecialToken" in piece else None for piece in processor.get("single", ())]
        texts = [str(processor["special_tokens"][name]["tokens"][0]) if name is not None else None for name in names]
        bos, eos = (as_added_token(settings[name], name).content for name in ("bos_token", "eos_token"))
        shapes = {
            (bos, None): (True, False),
            (None, eos): (False, True),
            (bos, None, eos): (True, True),
            (None,): (False, False),
        }
        found = shapes.get(tuple(texts))
        return None if found is None else {"add_bos_token": found[0], "add_eos_token": found[1]}


class GPT2TokenizerFast(ByteLevelTokenizerFast):
    """GPT-2's tokenizer over the `tokenizers` library. Arguments are those of `ByteLevelTokenizerFast`, and `add_bos_token` and
    `add_eos_token`."""

    default_special_tokens = _SPECIAL

    def _frame_texts(self) -> None:
        self._put_around(None, None)

    def _saved_settings(self) -> dict[str, Any]:
        around = {"add_bos_token": self.add_bos_token, "add_eos_token": self.add_eos_token}
        return {**super()._saved_settings(), **around}
