"""Whisper's tokenizer: GPT-2's byte-level BPE, and tokens for languages, tasks and timestamps."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers.processors import TemplateProcessing
from transept_tokenizers.backends import byte_bpe_backend
from transept_tokenizers.fast import PreTrainedTokenizerFast
from transept_tokenizers.vocabulary_files import checked_merges, checked_vocabulary, read_merges, read_vocabulary_json

from transept.errors import InputError, TokenizerError

from .languages import TASKS, language_code
from .offsets import offsets_of, text_with_timestamps

__all__ = ["WhisperTokenizer", "WhisperTokenizerFast"]

_END, _START = "<|endoftext|>", "<|startoftranscript|>"
_PREVIOUS, _PLAIN = "<|startofprev|>", "<|notimestamps|>"
_SPECIAL = {"unk_token": _END, "bos_token": _END, "eos_token": _END}


class WhisperTokenizer(PreTrainedTokenizerFast):
    """Whisper's tokenizer over the `tokenizers` library.

    A `tokenizer.json` decides; without one, the backend is made of `vocab.json` and `merges.txt`. Labels begin with the start, and
    with tokens for the language, the task and "no timestamps" as the settings say; they end with the end.

    Args:
        vocab_file, merges_file, vocab, merges: files, or what they hold.
        language, task: of labels: a code, a token or an English name; "transcribe" or "translate". None: not said.
        predict_timestamps: labels may have timestamps.
        add_prefix_space: read every text as if a space came before it; None: as `tokenizer.json` has it.
        errors: "replace", the only way in which the library decodes.
        settings: arguments of `PreTrainedTokenizerFast`.

    Raises:
        TokenizerError, CorruptFileError: no vocabulary, or files that do not fit each other.
        InputError: a language or task that there is not.
    """

    vocab_files_names = {"vocab_file": "vocab.json", "merges_file": "merges.txt"}  # noqa: RUF012
    decided_by_file = ("add_prefix_space",)

    def __init__(
        self,
        vocab_file: str | Path | None = None,
        merges_file: str | Path | None = None,
        errors: str = "replace",
        language: str | None = None,
        task: str | None = None,
        predict_timestamps: bool = False,
        add_prefix_space: bool | None = None,
        vocab: Mapping[str, int] | str | Path | None = None,
        merges: Sequence[Sequence[str]] | str | Path | None = None,
        **settings: Any,
    ) -> None:
        if errors != "replace":
            raise TokenizerError(f'`errors="{errors}"` is not supported: bytes that are no UTF-8 become U+FFFD, "replace".')
        self.language, self.task, self.predict_timestamps = language, task, predict_timestamps
        settings = {**_SPECIAL, **settings}
        if settings.get("tokenizer_file") is None and settings.get("tokenizer_object") is None:
            tokens, pairs = _vocabulary(vocab_file if vocab is None else vocab, merges_file if merges is None else merges)
            settings["tokenizer_object"] = byte_bpe_backend(tokens, pairs, add_prefix_space=bool(add_prefix_space))
            settings["copy_tokenizer"] = False
        super().__init__(**settings)
        words = self._tokenizer.pre_tokenizer
        if add_prefix_space is not None and add_prefix_space != getattr(words, "add_prefix_space", None):
            if not hasattr(words, "add_prefix_space"):
                raise TokenizerError(
                    f"The `tokenizer.json` cuts words by a {type(words).__name__}, which knows no `add_prefix_space`."
                )
            words.add_prefix_space = add_prefix_space
            self._tokenizer.pre_tokenizer = words
        self.set_prefix_tokens()

    @property
    def add_prefix_space(self) -> bool:
        """Whether every text is read as if a space came before it."""
        return bool(getattr(self._tokenizer.pre_tokenizer, "add_prefix_space", False))

    def _saved_settings(self) -> dict[str, Any]:
        mine = {name: getattr(self, name) for name in ("language", "task", "predict_timestamps", "add_prefix_space")}
        return {**super()._saved_settings(), **mine}

    # -- what labels begin with ----------------------------------------------------------------------------------------

    def set_prefix_tokens(
        self, language: str | None = None, task: str | None = None, predict_timestamps: bool | None = None
    ) -> None:
        """Change what labels begin with; None leaves a setting as it is.

        Raises:
            InputError: a language or task that there is not. TokenizerError: the vocabulary has no token for it.
        """
        before = self.language, self.task, self.predict_timestamps
        self.language = self.language if language is None else language
        self.task = self.task if task is None else task
        self.predict_timestamps = self.predict_timestamps if predict_timestamps is None else predict_timestamps
        try:
            ids = self.prefix_tokens
        except (InputError, TokenizerError):
            self.language, self.task, self.predict_timestamps = before
            raise
        if not ids:  # a vocabulary without Whisper's own tokens: as the file has it
            return
        prefix = [(self.convert_ids_to_tokens(index), index) for index in ids]
        around = " ".join(f"{token}:0" for token, _ in prefix)
        self._tokenizer.post_processor = TemplateProcessing(
            single=f"{around} $A:0 {self.eos_token}:0",
            pair=f"{around} $A:0 $B:1 {self.eos_token}:1",
            special_tokens=list(dict([*prefix, (str(self.eos_token), self.eos_token_id)]).items()),
        )

    @property
    def prefix_tokens(self) -> list[int]:
        """Ids of what labels begin with."""
        if self.task is not None and self.task not in TASKS:
            raise InputError(f"The task is one of {', '.join(TASKS)}, not {self.task!r}.")
        named = [_START] if self._token_to_id(_START) is not None else []
        if self.language is not None:
            named.append(f"<|{language_code(self.language)}|>")
        if self.task is not None:
            named.append(f"<|{self.task}|>")
        if not self.predict_timestamps and self._token_to_id(_PLAIN) is not None:
            named.append(_PLAIN)
        return [self._own(token) for token in named]

    def _own(self, token: str) -> int:
        found = self._token_to_id(token)
        if found is None:
            raise TokenizerError(f"The vocabulary has no token `{token}`: it is that of another model.")
        return found

    def get_decoder_prompt_ids(
        self, task: str | None = None, language: str | None = None, no_timestamps: bool = True
    ) -> list[tuple[int, int]]:
        """Place and id of each token after the start; sets what labels begin with, too."""
        self.set_prefix_tokens(task=task, language=language, predict_timestamps=not no_timestamps)
        return [(place, index) for place, index in enumerate(self.prefix_tokens) if place]

    def get_prompt_ids(self, text: str, return_tensors: str | None = "pt") -> Any:
        """Ids that `generate(prompt_ids=…)` takes: what was said before, or words to expect.

        Args:
            return_tensors: "pt": LongTensor (length,), "np": an array, None: a list.

        Raises:
            InputError: the text has special tokens in it.
        """
        ids = [self._own(_PREVIOUS), *self(" " + text.strip(), add_special_tokens=False)["input_ids"]]
        special = set(self.all_special_ids) | set(self.added_tokens_decoder)
        found = next((index for index in ids[1:] if index in special), None)
        if found is not None:
            raise InputError(f"The prompt has the special token `{self.convert_ids_to_tokens(found)}` in it: leave it out.")
        if return_tensors is None:
            return ids
        import torch

        tensor = torch.tensor(ids)
        return tensor if return_tensors == "pt" else tensor.numpy()

    # -- from ids to text ----------------------------------------------------------------------------------------------

    @property
    def timestamp_begin(self) -> int:
        """The id of `<|0.00|>`, which a vocabulary need not list: it follows the special tokens."""
        plain = self._token_to_id(_PLAIN)
        return (max(self.all_special_ids) if plain is None else plain) + 1

    def timestamp_ids(self, time_precision: float = 0.02) -> list[int]:
        """The ids of 0 to 30 seconds."""
        return list(range(self.timestamp_begin, self.timestamp_begin + round(30 / time_precision) + 1))

    def decode(  # type: ignore[override]
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        output_offsets: bool = False,
        time_precision: float = 0.02,
        decode_with_timestamps: bool = False,
        normalize: bool = False,
        basic_normalize: bool = False,
        remove_diacritics: bool = False,
    ) -> Any:
        """The text of ids, without timestamps; a list of texts for a batch.

        Args:
            skip_special_tokens: leave out special tokens, and the prompt before the start.
            output_offsets: return `{"text": …, "offsets": [{"text": …, "timestamp": (start, end)}, …]}`, in seconds.
            time_precision: seconds from timestamp to timestamp.
            decode_with_timestamps: leave timestamps in the text: `<|1.08|>`.
            basic_normalize: in lower case, without punctuation and what is in brackets; `remove_diacritics`: without accents.
            normalize: OpenAI's normaliser of English spelling, which is not part of this package.

        Raises:
            TokenizerError: ids that are no whole numbers from 0 up, or `normalize`.
        """
        if normalize:
            raise TokenizerError(
                "`normalize=True` needs OpenAI's table of English spellings, which is not here: use `basic_normalize`."
            )
        rows = token_ids.tolist() if hasattr(token_ids, "tolist") else token_ids
        options = {
            "output_offsets": output_offsets,
            "time_precision": time_precision,
            "decode_with_timestamps": decode_with_timestamps,
            "basic_normalize": basic_normalize,
            "remove_diacritics": remove_diacritics,
        }
        if isinstance(rows, list | tuple) and rows and (hasattr(rows[0], "__len__")):
            return [self.decode(row, skip_special_tokens, clean_up_tokenization_spaces, **options) for row in rows]
        ids = [rows] if isinstance(rows, int) else list(rows)
        begin = self.timestamp_begin
        said = self._without_prompt(ids) if skip_special_tokens else ids

        def plain(part: list[int]) -> str:
            words = [index for index in part if not isinstance(index, int) or index < begin]
            text: str = super(WhisperTokenizer, self).decode(words, skip_special_tokens, clean_up_tokenization_spaces)
            return basic_normalized(text, remove_diacritics) if basic_normalize else text

        text = text_with_timestamps(said, begin, time_precision, plain) if decode_with_timestamps else plain(said)
        if not output_offsets:
            return text
        return {"text": text, "offsets": offsets_of(ids, begin, time_precision, plain)}

    def batch_decode(self, sequences: Any, skip_special_tokens: bool = False, **options: Any) -> list[Any]:  # type: ignore[override]
        """The texts of rows of ids; see `decode`."""
        found = self.decode(sequences, skip_special_tokens, **options)
        return found if isinstance(found, list) else [found]

    def _without_prompt(self, ids: list[int]) -> list[int]:
        """What comes from the start on, where the ids begin with an earlier text."""
        start, previous = self._token_to_id(_START), self._token_to_id(_PREVIOUS)
        if not ids or previous is None or ids[0] != previous:
            return ids
        return ids[ids.index(start) :] if start in ids else []


WhisperTokenizerFast = WhisperTokenizer
"""Both names that checkpoints have for it."""


def _vocabulary(vocab: Any, merges: Any) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges, each itself or by its file."""
    if vocab is None or merges is None:
        raise TokenizerError(
            "A Whisper tokenizer is made of a `tokenizer_file`, or of a `vocab_file` (`vocab.json`) and a `merges_file` (`merges.txt`); "
            "`from_pretrained` finds the files."
        )
    tokens = checked_vocabulary(dict(vocab), "vocab") if isinstance(vocab, Mapping) else read_vocabulary_json(vocab)
    if isinstance(merges, str | Path):
        return tokens, read_merges(merges, tokens)
    return tokens, checked_merges([(list(pair), f"merges[{place}]") for place, pair in enumerate(merges)], tokens)


def basic_normalized(text: str, remove_diacritics: bool = False) -> str:
    """A text in lower case, without what is in brackets, and with spaces for symbols and punctuation: to compare transcripts by."""
    text = re.sub(r"[<\[][^>\]]*[>\]]", "", text.lower())
    text = re.sub(r"\(([^)]+?)\)", "", text)
    kept = []
    for character in unicodedata.normalize("NFKD" if remove_diacritics else "NFKC", text):
        kind = unicodedata.category(character)
        if remove_diacritics and kind == "Mn":
            continue
        plain = " " if kind[0] in "MSP" else character
        kept.append(_LETTERS.get(character, plain) if remove_diacritics else plain)
    return re.sub(r"\s+", " ", "".join(kept).lower())


_LETTERS = {"œ": "oe", "ø": "o", "æ": "ae", "ß": "ss", "đ": "d", "ð": "d", "þ": "th", "ł": "l"}
"""Letters that no decomposition takes apart."""
