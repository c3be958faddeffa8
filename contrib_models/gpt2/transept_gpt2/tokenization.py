"""GPT-2's tokenizers: byte-level BPE over `vocab.json` and `merges.txt` (Radford et al. 2019), in plain Python and over the
`tokenizers` library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from transept_tokenizers.aligned_text import AlignedText
from transept_tokenizers.backends import byte_bpe_backend
from transept_tokenizers.byte_bpe import ByteBPE, byte_words, bytes_of_tokens, in_byte_characters
from transept_tokenizers.fast import PreTrainedTokenizerFast
from transept_tokenizers.slow import PreTrainedTokenizer
from transept_tokenizers.tokenization.added_token import as_added_token
from transept_tokenizers.vocabulary_files import (
    added_tokens,
    checked_merges,
    checked_vocabulary,
    read_merges,
    read_tokenizer_json,
    read_vocabulary_json,
    write_merges,
    write_vocabulary_json,
)

from transept.errors import TokenizerError

__all__ = ["GPT2Tokenizer", "GPT2TokenizerFast"]

_END = "<|endoftext|>"
_SPECIAL = {"unk_token": _END, "bos_token": _END, "eos_token": _END}
_FILES = {"vocab_file": "vocab.json", "merges_file": "merges.txt"}

Vocabulary = Mapping[str, int] | str | Path
Merges = Sequence[Sequence[str]] | str | Path


def _vocabulary(vocab: Vocabulary | None, merges: Merges | None) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges, each itself or by its file."""
    if vocab is None or merges is None:
        raise TokenizerError(
            "A GPT-2 tokenizer is made of a `vocab_file` (`vocab.json`) and a `merges_file` (`merges.txt`), or of `vocab` and "
            "`merges`; `from_pretrained` finds the files."
        )
    tokens = checked_vocabulary(dict(vocab), "vocab") if isinstance(vocab, Mapping) else read_vocabulary_json(vocab)
    if isinstance(merges, (str, Path)):
        return tokens, read_merges(merges, tokens)
    return tokens, checked_merges([(list(pair), f"merges[{place}]") for place, pair in enumerate(merges)], tokens)


class GPT2Tokenizer(PreTrainedTokenizer):
    """GPT-2's tokenizer in plain Python. A word with a space before it is another token than the same word without.

    Args:
        vocab_file: `vocab.json`, ids by token.
        merges_file: `merges.txt`, a pair of pieces a line, the first learned first.
        errors: what decoding does with bytes that are no UTF-8, as in `bytes.decode`.
        add_prefix_space: read every text as if a space came before it.
        add_bos_token, add_eos_token: put that token around each text.
        vocab, merges: what the files hold, or their paths.
        settings: arguments of `PreTrainedTokenizer`.

    Raises:
        TokenizerError, CorruptFileError: no vocabulary, or files that do not fit each other.
    """

    vocab_files_names = _FILES
    decided_by_file = ("add_prefix_space", "add_bos_token", "add_eos_token")
    spaces_are_text = True

    def __init__(
        self,
        vocab_file: str | Path | None = None,
        merges_file: str | Path | None = None,
        errors: str = "replace",
        add_prefix_space: bool = False,
        add_bos_token: bool = False,
        add_eos_token: bool = False,
        vocab: Vocabulary | None = None,
        merges: Merges | None = None,
        **settings: Any,
    ) -> None:
        tokens, pairs = _vocabulary(vocab_file if vocab is None else vocab, merges_file if merges is None else merges)
        self.vocab = tokens
        self.bpe = ByteBPE(tokens, pairs)
        self.errors = errors
        self.add_prefix_space = add_prefix_space
        self.add_bos_token = add_bos_token
        self.add_eos_token = add_eos_token
        super().__init__(**{**_SPECIAL, **settings})

    def _pre_tokenize(self, text: AlignedText) -> Iterable[AlignedText]:
        if self.add_prefix_space and not text.text.startswith(" "):
            text = text.prepended(" ")
        for word in byte_words(text):
            yield word.mapped(in_byte_characters)

    def _word_pieces(self, word: str) -> list[tuple[str, int, int]]:
        return self.bpe.pieces(word)

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

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """The text of the tokens' bytes."""
        return bytes_of_tokens(tokens).decode("utf-8", errors=self.errors)

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Write `vocab.json` and `merges.txt`."""
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        folder = Path(save_directory)
        return (
            str(write_vocabulary_json(folder / f"{prefix}vocab.json", self._vocab)),
            str(write_merges(folder / f"{prefix}merges.txt", list(self.bpe.ranks))),
        )

    def _saved_settings(self) -> dict[str, Any]:
        mine = {name: getattr(self, name) for name in ("errors", "add_prefix_space", "add_bos_token", "add_eos_token")}
        return {**super()._saved_settings(), **mine}

    @classmethod
    def _from_tokenizer_json(cls, path: Path, settings: dict[str, Any]) -> Self:
        value = read_tokenizer_json(path, "BPE")
        words, model = value.get("pre_tokenizer") or {}, value["model"]
        around = _around_texts(value.get("post_processor") or {}, {**_SPECIAL, **settings})
        odd = [
            model.get(name) for name in ("continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges")
        ]
        usual = words.get("type") == "ByteLevel" and words.get("use_regex") is not False and not value.get("normalizer")
        if not usual or any(odd) or around is None:
            return super()._from_tokenizer_json(path, settings)
        listed = [pair.split(" ") if isinstance(pair, str) else pair for pair in model.get("merges") or ()]
        inside = {
            "vocab": checked_vocabulary(model.get("vocab"), str(path)),
            "merges": listed,
            "add_prefix_space": bool(words.get("add_prefix_space")),
            "add_bos_token": around[0],
            "add_eos_token": around[1],
        }
        return cls(**{**inside, **settings, "added_tokens_decoder": added_tokens(value, settings)})


def _around_texts(processor: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[bool, bool] | None:
    """Whether a post-processor puts `bos_token` before a text and `eos_token` after it; None where it does something else."""
    if processor.get("type") in (None, "ByteLevel"):
        return False, False
    if processor.get("type") != "TemplateProcessing":
        return None
    names = [piece["SpecialToken"]["id"] if "SpecialToken" in piece else None for piece in processor.get("single", ())]
    texts = [str(processor["special_tokens"][name]["tokens"][0]) if name is not None else None for name in names]
    bos, eos = (as_added_token(settings[name], name).content for name in ("bos_token", "eos_token"))
    shapes = {(bos, None): (True, False), (None, eos): (False, True), (bos, None, eos): (True, True), (None,): (False, False)}
    return shapes.get(tuple(texts))


class GPT2TokenizerFast(PreTrainedTokenizerFast):
    """GPT-2's tokenizer over the `tokenizers` library.

    A `tokenizer.json` decides; without one, the backend is made of `vocab.json` and `merges.txt`.

    Args:
        vocab_file, merges_file, vocab, merges: as in `GPT2Tokenizer`.
        errors: "replace", the only way in which the library decodes.
        add_prefix_space: read every text as if a space came before it; None: as `tokenizer.json` has it.
        settings: arguments of `PreTrainedTokenizerFast`, `add_bos_token` and `add_eos_token` among them.

    Raises:
        TokenizerError, CorruptFileError: no vocabulary, files that do not fit each other, or a setting that the backend lacks.
    """

    vocab_files_names = _FILES
    decided_by_file = ("add_prefix_space",)

    def __init__(
        self,
        vocab_file: str | Path | None = None,
        merges_file: str | Path | None = None,
        errors: str = "replace",
        add_prefix_space: bool | None = None,
        vocab: Vocabulary | None = None,
        merges: Merges | None = None,
        **settings: Any,
    ) -> None:
        if errors != "replace":
            raise TokenizerError(f'`errors="{errors}"` needs the tokenizer in Python: pass `use_fast=False`.')
        settings = {**_SPECIAL, **settings}
        if settings.get("tokenizer_file") is None and settings.get("tokenizer_object") is None:
            tokens, pairs = _vocabulary(vocab_file if vocab is None else vocab, merges_file if merges is None else merges)
            backend = byte_bpe_backend(tokens, pairs, add_prefix_space=bool(add_prefix_space))
            around = {name: bool(settings.get(name)) for name in ("add_bos_token", "add_eos_token")}
            super().__init__(**{**settings, **around, "tokenizer_object": backend, "copy_tokenizer": False})
            return
        super().__init__(**settings)
        if add_prefix_space is not None and add_prefix_space != self.add_prefix_space:
            words = self._tokenizer.pre_tokenizer
            if not hasattr(words, "add_prefix_space"):
                raise TokenizerError(
                    f"The `tokenizer.json` cuts words by a {type(words).__name__}, which knows no `add_prefix_space`: leave it out."
                )
            words.add_prefix_space = add_prefix_space
            self._tokenizer.pre_tokenizer = words

    @property
    def add_prefix_space(self) -> bool:
        """Whether every text is read as if a space came before it."""
        return bool(getattr(self._tokenizer.pre_tokenizer, "add_prefix_space", False))

    def _saved_settings(self) -> dict[str, Any]:
        around = {"add_bos_token": self.add_bos_token, "add_eos_token": self.add_eos_token}
        return {**super()._saved_settings(), **around, "add_prefix_space": self.add_prefix_space}
