"""The tokenizer that every backend extends: arguments in, backend's encodings cut, filled and named, out."""

from __future__ import annotations

import os
import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from transept.errors import TokenizerError, UnknownArgumentError, did_you_mean
from transept.files import Location, open_location

from .added_token import AddedToken
from .batch_encoding import BatchEncoding, plain_lists
from .encoding import Encoding
from .lengths import NO_MAX_LENGTH, Padding, Truncation, check_side, padding_from, truncation_from
from .padding import RowPadding
from .rows import as_batch, named_rows
from .special_tokens import SPECIAL_TOKEN_NAMES, SpecialTokens
from .tokenizer_files import TOKENIZER_CONFIG, read_settings, write_chat_templates, write_json

__all__ = ["PreTrainedTokenizerBase", "TextInput"]

TextInput = str | Sequence[str]
"""One text; or, with `is_split_into_words`, its words."""

_SETTINGS = (
    "model_max_length",
    "padding_side",
    "truncation_side",
    "model_input_names",
    "clean_up_tokenization_spaces",
    "split_special_tokens",
)


class PreTrainedTokenizerBase(SpecialTokens, RowPadding):
    """Texts to ids and back.

    A backend implements `_encode_batch`, `_decode`, `_add_tokens`, `_from_location`, `_save_vocabulary`, `get_vocab`,
    `vocab_size`, `added_tokens_decoder`, `_token_to_id`, `_id_to_token` and `convert_tokens_to_string`.

    Args:
        name_or_path: where it came from; for people.
        model_max_length: the longest input of the model, in tokens.
        padding_side, truncation_side: "left" or "right".
        model_input_names: what `model.forward` takes; the first is the ids' name.
        chat_template: a Jinja template, or several by name (also as checkpoints list them).
        clean_up_tokenization_spaces: default of `decode`'s argument.
        split_special_tokens: special tokens in a text are read as plain text.
        extra_special_tokens: a list of tokens, or a mapping of names to tokens.
        pad_token_type_id: type id of padding.
        other_settings: keys of a checkpoint's `tokenizer_config.json` that have no meaning here; saved as they are.
        special_tokens: `bos_token`, `eos_token`, `unk_token`, `sep_token`, `pad_token`, `cls_token`, `mask_token`, and names
            of one's own that end in `_token`.

    Raises:
        UnknownArgumentError: a keyword that is none of these.
    """

    model_input_names: list[str] = ["input_ids", "attention_mask"]  # noqa: RUF012
    padding_side: str = "right"
    truncation_side: str = "right"

    def __init__(
        self,
        *,
        name_or_path: str = "",
        model_max_length: int | None = None,
        padding_side: str | None = None,
        truncation_side: str | None = None,
        model_input_names: Sequence[str] | None = None,
        chat_template: str | Mapping[str, str] | Sequence[Mapping[str, str]] | None = None,
        clean_up_tokenization_spaces: bool = False,
        split_special_tokens: bool = False,
        extra_special_tokens: Sequence[Any] | Mapping[str, Any] | None = None,
        additional_special_tokens: Sequence[Any] | None = None,
        pad_token_type_id: int = 0,
        other_settings: Mapping[str, Any] | None = None,
        **special_tokens: Any,
    ) -> None:
        for name in special_tokens:
            if not name.endswith("_token"):
                raise UnknownArgumentError(
                    f"`{type(self).__name__}` takes no argument `{name}`.{did_you_mean(name, self.argument_names())}", name=name
                )
        SpecialTokens.__init__(self, special_tokens, extra_special_tokens or additional_special_tokens)
        if not isinstance(model_max_length, (int, float, type(None))) or isinstance(model_input_names, str):
            raise TokenizerError("`model_max_length` must be a number of tokens, and `model_input_names` a list of names.")
        self.name_or_path = name_or_path
        self.model_max_length: int = NO_MAX_LENGTH if model_max_length is None else int(model_max_length)
        self.padding_side = check_side(padding_side or type(self).padding_side, "padding_side")
        self.truncation_side = check_side(truncation_side or type(self).truncation_side, "truncation_side")
        self.model_input_names = list(model_input_names or type(self).model_input_names)
        self.clean_up_tokenization_spaces = bool(clean_up_tokenization_spaces)
        self.split_special_tokens = bool(split_special_tokens)
        self.pad_token_type_id = pad_token_type_id
        self.chat_template: str | dict[str, str] | None = _templates(chat_template)
        self.other_settings: dict[str, Any] = dict(other_settings or {})
        self._warned_too_long = False

    @classmethod
    def argument_names(cls) -> tuple[str, ...]:
        """Names of the constructor's arguments, those of base classes included."""
        names = [*SPECIAL_TOKEN_NAMES, "additional_special_tokens"]
        for base in cls.__mro__:
            init = base.__dict__.get("__init__")
            if init is not None and hasattr(init, "__code__"):
                code = init.__code__
                names += code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
        return tuple(dict.fromkeys(names))

    # ---- the backend's part -------------------------------------------------------------------------------------

    @abstractmethod
    def _encode_batch(
        self,
        texts: Sequence[Any],
        *,
        add_special_tokens: bool,
        is_split_into_words: bool,
        truncation: Truncation | None,
        split_special_tokens: bool,
    ) -> list[Encoding]:
        """Encode texts, or (text, pair) tuples, each on its own; overflowing parts come with each encoding."""

    @abstractmethod
    def _decode(self, ids: list[int], *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool) -> str:
        """Turn ids into text."""

    @classmethod
    @abstractmethod
    def _from_location(cls, location: Location, settings: dict[str, Any]) -> Self:
        """Make the tokenizer of the files there; `settings` are the constructor's keywords."""

    @abstractmethod
    def _save_vocabulary(self, folder: Path) -> list[Path]:
        """Write what ids follow from."""

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """Tokens of the vocabulary, without those that were added; `len(tokenizer)` counts all."""

    @property
    @abstractmethod
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """Added tokens by id."""

    @abstractmethod
    def get_vocab(self) -> dict[str, int]:
        """Every token, added ones included, with its id."""

    @abstractmethod
    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many special tokens a text (or a pair) gets."""

    @abstractmethod
    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """Join tokens to text."""

    @abstractmethod
    def _token_to_id(self, token: str) -> int | None:
        """Id of a token in the vocabulary, None when it is not there."""

    @abstractmethod
    def _id_to_token(self, index: int) -> str | None:
        """Token of an id, None when there is none."""

    # ---- vocabulary ---------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.get_vocab())

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(name_or_path={self.name_or_path!r}, vocab_size={self.vocab_size}, "
            f"model_max_length={self.model_max_length}, padding_side={self.padding_side!r}, "
            f"truncation_side={self.truncation_side!r}, special_tokens={self.special_tokens_map}, "
            f"added_tokens={len(self.added_tokens_decoder)})"
        )

    @property
    def vocab(self) -> dict[str, int]:
        """The same as `get_vocab()`."""
        return self.get_vocab()

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """Ids of the added tokens, in the order of ids."""
        return {token.content: index for index, token in sorted(self.added_tokens_decoder.items())}

    def get_added_vocab(self) -> dict[str, int]:
        """The same as `added_tokens_encoder`."""
        return self.added_tokens_encoder

    @property
    def max_len_single_sentence(self) -> int:
        """Tokens that a text may have beside the special ones."""
        return self.model_max_length - self.num_special_tokens_to_add(pair=False)

    @property
    def max_len_sentences_pair(self) -> int:
        """Tokens that a pair may have together beside the special ones."""
        return self.model_max_length - self.num_special_tokens_to_add(pair=True)

    def convert_tokens_to_ids(self, tokens: str | Sequence[str]) -> Any:
        """The id of a token, or of each; that of `unk_token` (None without one) for what the vocabulary lacks."""
        if isinstance(tokens, str):
            index = self._token_to_id(tokens)
            unknown = self._special_tokens["unk_token"]
            return self._token_to_id(unknown.content) if index is None and unknown is not None else index
        return [self.convert_tokens_to_ids(token) for token in tokens]

    def convert_ids_to_tokens(self, ids: int | Sequence[int], skip_special_tokens: bool = False) -> Any:
        """The token of an id, or of each; None for an id that nothing has."""
        ids = plain_lists(ids)
        if isinstance(ids, int):
            return self._id_to_token(ids)
        skipped = set(self.all_special_ids) if skip_special_tokens else set()
        return [self._id_to_token(int(index)) for index in ids if int(index) not in skipped]

    # ---- texts to ids -------------------------------------------------------------------------------------------

    def __call__(
        self,
        text: TextInput | Sequence[Any] | None = None,
        text_pair: TextInput | Sequence[Any] | None = None,
        text_target: TextInput | Sequence[Any] | None = None,
        text_pair_target: TextInput | Sequence[Any] | None = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        verbose: bool = True,
        split_special_tokens: bool | None = None,
        max_target_length: int | None = None,
        **unknown: Any,
    ) -> BatchEncoding:
        """Encode a text, a pair, or a batch of either.

        Args:
            text, text_pair: a string, or a list of strings for a batch; with `is_split_into_words` words in their place.
            text_target, text_pair_target: encoded the same way; beside `text` their ids are the `labels`.
            add_special_tokens: put the model's special tokens around and between the texts.
            padding: True or "longest" fills to the batch's longest row, "max_length" to `max_length`.
            truncation: True or "longest_first" takes tokens from the longer text of a pair, "only_first" and "only_second"
                from that one.
            max_length: in tokens, special ones included; `model_max_length` when not given.
            stride: tokens that an overflowing part repeats of the one before.
            return_tensors: "pt", "np", or None for lists.
            return_token_type_ids, return_attention_mask: by default as `model_input_names` says.
            return_overflowing_tokens: a row for each part of a text that was cut, and `overflow_to_sample_mapping`.
            return_offsets_mapping: (start, end) in characters for each token.

        Returns:
            `input_ids` and what was asked for: lists or tensors (batch, seq); (seq,) for one text without tensors.

        Raises:
            TokenizerError: texts that are none, padding without a padding token, lengths that cannot be kept.
            UnknownArgumentError: a keyword that is none of these.
        """
        if unknown:
            name = next(iter(unknown))
            known = PreTrainedTokenizerBase.__call__.__code__.co_varnames
            raise UnknownArgumentError(f"A tokenizer's call takes no argument `{name}`.{did_you_mean(name, known)}", name=name)
        if text is None and text_target is None:
            raise TokenizerError("There is nothing to encode: give `text` or `text_target`.")
        cut = truncation_from(
            truncation, padding, max_length, stride, model_max_length=self.model_max_length, side=self.truncation_side
        )
        fill = padding_from(
            padding,
            max_length,
            pad_to_multiple_of,
            model_max_length=self.model_max_length,
            side=padding_side or self.padding_side,
            pad_token=self.pad_token,
            pad_id=self.pad_token_id if padding is not False else None,
        )
        if cut and fill and pad_to_multiple_of and cut.max_length % pad_to_multiple_of:
            raise TokenizerError(
                f"Rows cut to {cut.max_length} tokens are no multiple of `pad_to_multiple_of` ({pad_to_multiple_of}): "
                "change one of them."
            )
        names = self.model_input_names
        fields = {
            "input_ids": True,
            "token_type_ids": "token_type_ids" in names if return_token_type_ids is None else return_token_type_ids,
            "attention_mask": "attention_mask" in names if return_attention_mask is None else return_attention_mask,
            "special_tokens_mask": return_special_tokens_mask,
            "offset_mapping": return_offsets_mapping,
            "length": return_length,
        }

        def encode(text: Any, pair: Any, cut: Truncation | None, fill: Padding | None) -> BatchEncoding:
            texts, is_batch = as_batch(text, pair, is_split_into_words)
            encodings = self._encode_batch(
                texts,
                add_special_tokens=add_special_tokens,
                is_split_into_words=is_split_into_words,
                truncation=cut,
                split_special_tokens=self.split_special_tokens if split_special_tokens is None else split_special_tokens,
            )
            if verbose and cut is None:
                self._warn_if_too_long(encodings)
            self._fill(encodings, fill)
            wanted = [name for name, asked in fields.items() if asked]
            data, rows = named_rows(encodings, wanted, return_overflowing_tokens)
            if not is_batch and return_tensors is None and not return_overflowing_tokens:
                data = {name: values[0] if isinstance(values[0], list) else values for name, values in data.items()}
            return BatchEncoding(data, rows, tensor_type=return_tensors)

        if text is None:
            return encode(text_target, text_pair_target, cut, fill)
        encoded = encode(text, text_pair, cut, fill)
        if text_target is not None:
            if max_target_length is not None:
                cut = cut and replace(cut, max_length=max_target_length)
                fill = fill and replace(fill, length=None if fill.length is None else max_target_length)
            encoded["labels"] = encode(text_target, text_pair_target, cut, fill)["input_ids"]
        return encoded

    def encode(self, text: Any, text_pair: Any = None, add_special_tokens: bool = True, **kwargs: Any) -> Any:
        """The `input_ids` of `tokenizer(text, …)`, whose arguments it takes."""
        return self(text, text_pair, add_special_tokens=add_special_tokens, **kwargs)["input_ids"]

    def tokenize(self, text: str, pair: str | None = None, add_special_tokens: bool = False, **kwargs: Any) -> list[str]:
        """The tokens of a text, as strings of the vocabulary; arguments of `tokenizer(text, …)`."""
        return self(text, pair, add_special_tokens=add_special_tokens, **kwargs).tokens()

    def _warn_if_too_long(self, encodings: Sequence[Encoding]) -> None:
        longest = max((len(encoding.ids) for encoding in encodings), default=0)
        if longest > self.model_max_length and not self._warned_too_long:
            self._warned_too_long = True
            warnings.warn(
                f"A text has {longest} tokens and the model takes {self.model_max_length} (`model_max_length`): pass "
                "`truncation=True`, or shorten it.",
                stacklevel=4,
            )

    def _fill(self, encodings: Sequence[Encoding], fill: Padding | None) -> None:
        if fill is None:
            return
        target = fill.target(len(encoding.ids) for encoding in encodings)
        for encoding in encodings:
            encoding.pad(
                target,
                direction=fill.side,
                pad_id=fill.pad_id,
                pad_type_id=self.pad_token_type_id,
                pad_token=fill.pad_token,
            )

    # ---- ids to texts -------------------------------------------------------------------------------------------

    def decode(
        self, token_ids: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> Any:
        """The text of ids (a number, list, tensor or array); a list of texts for a batch.

        Raises:
            TokenizerError: ids that are no whole numbers from 0 up.
        """
        ids = plain_lists(token_ids["input_ids"] if isinstance(token_ids, Mapping) else token_ids)
        if isinstance(ids, (list, tuple)) and ids and isinstance(ids[0], (list, tuple)):
            return [self.decode(row, skip_special_tokens, clean_up_tokenization_spaces) for row in ids]
        ids = [ids] if isinstance(ids, int) else list(ids)
        for place, index in enumerate(ids):
            if not isinstance(index, int) or index < 0:
                raise TokenizerError(
                    f"`token_ids[{place}]` is `{index!r}`: ids are whole numbers from 0 up. In labels, put the padding "
                    "token's id in place of -100 first."
                )
        clean = self.clean_up_tokenization_spaces if clean_up_tokenization_spaces is None else clean_up_tokenization_spaces
        return self._decode(ids, skip_special_tokens=skip_special_tokens, clean_up_tokenization_spaces=clean)

    def batch_decode(
        self, sequences: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> list[str]:
        """The texts of rows of ids."""
        texts = self.decode(sequences, skip_special_tokens, clean_up_tokenization_spaces)
        return [texts] if isinstance(texts, str) else texts

    @staticmethod
    def clean_up_tokenization(text: str) -> str:
        """Take out the spaces that word-piece decoding leaves before punctuation and contractions."""
        for spaced in (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're"):
            text = text.replace(spaced, spaced.strip())
        return text

    # ---- files --------------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str] | Location,
        *,
        revision: str | None = None,
        subfolder: str = "",
        cache_dir: str | os.PathLike[str] | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
        trust_remote_code: bool = False,
        **overrides: Any,
    ) -> Self:
        """The tokenizer of a checkpoint. Further keywords are the constructor's, and go before the checkpoint's settings.

        Code in a checkpoint is never run, whatever `trust_remote_code` says.

        Raises:
            CheckpointNotFoundError: nothing is found under the name.
            TokenizerError: the files that it needs are not there.
            UnknownArgumentError: a keyword that the constructor doesn't take.
        """
        if trust_remote_code:
            warnings.warn("`trust_remote_code=True` changes nothing: code in a checkpoint is never run.", stacklevel=2)
        location = open_location(
            pretrained_model_name_or_path,
            revision=revision,
            subfolder=subfolder,
            cache_dir=cache_dir,
            token=token,
            local_files_only=local_files_only,
            force_download=force_download,
        )
        known = cls.argument_names()
        for name in overrides:
            if name not in known and not name.endswith("_token"):
                raise UnknownArgumentError(
                    f"`{cls.__name__}.from_pretrained` takes no argument `{name}`.{did_you_mean(name, known)}", name=name
                )
        return cls._from_location(location, cls._settings(location, overrides))

    @classmethod
    def _settings(cls, location: Location, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """The constructor's keywords out of the checkpoint's settings; what it doesn't take goes to `other_settings`."""
        known = cls.argument_names()
        settings: dict[str, Any] = {}
        other: dict[str, Any] = {}
        for key, value in read_settings(location).items():
            # a name of one's own that ends in `_token` is a special token only with a token as value
            named = key.endswith("_token") and (isinstance(value, str) or (isinstance(value, dict) and "content" in value))
            (settings if key in known or named else other)[key] = value
        settings.update(overrides)
        settings.setdefault("name_or_path", location.name)
        settings["other_settings"] = {**other, **(settings.get("other_settings") or {})}
        return settings

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> tuple[str, ...]:
        """Write the tokenizer's files to a folder, each at once or not at all; returns their paths."""
        folder = Path(save_directory)
        if folder.exists() and not folder.is_dir():
            raise TokenizerError(f"`{folder}` is a file: give a folder to save to.")
        folder.mkdir(parents=True, exist_ok=True)
        written = write_chat_templates(folder, self.chat_template)
        written += self._save_vocabulary(folder)
        written.append(write_json(folder / TOKENIZER_CONFIG, self._saved_settings()))
        # where an older file stands, readers of old and new believe it: it must not say something else
        for stale in ("special_tokens_map.json", "added_tokens.json"):
            (folder / stale).unlink(missing_ok=True)
        return tuple(str(path) for path in written)

    def _saved_settings(self) -> dict[str, Any]:
        settings = {**self.other_settings, **{name: getattr(self, name) for name in _SETTINGS}}
        settings["tokenizer_class"] = type(self).__name__
        settings.update({"pad_token_type_id": self.pad_token_type_id} if self.pad_token_type_id else {})
        # texts only: flags are the vocabulary file's affair, and a second copy of them could only disagree
        settings.update(self.special_tokens_map)
        if self._extra_special_tokens:
            settings["extra_special_tokens"] = self.extra_special_tokens
        return settings


def _templates(given: Any) -> str | dict[str, str] | None:
    if isinstance(given, (list, tuple)):
        given = {each.get("name"): each.get("template") for each in given if isinstance(each, Mapping)}
    if given is None or isinstance(given, str):
        return given
    if isinstance(given, Mapping) and all(isinstance(part, str) for pair in given.items() for part in pair):
        return dict(given)
    raise TokenizerError("`chat_template` must be a template, a mapping of names to templates, or a list of name and template.")
