"""Tokenizers over the `tokenizers` library. A `tokenizer.json`, where there is one, alone decides which ids a text has."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import tokenizers
from tokenizers.processors import TemplateProcessing

from transept.errors import CorruptFileError, TokenizerError, shorten
from transept.files import Location, atomic_file
from transept_tokenizers.tokenization import AddedToken, Encoding, Truncation
from transept_tokenizers.tokenization.added_token import as_added_token
from transept_tokenizers.tokenization.rows import is_pair, lone_surrogate_error

from .chat import ChatTemplates
from .layout import SpecialTokenLayout

__all__ = ["PreTrainedTokenizerFast"]

TOKENIZER_FILE = "tokenizer.json"


class PreTrainedTokenizerFast(ChatTemplates, SpecialTokenLayout):
    """A tokenizer that a `tokenizer.json` or a `tokenizers.Tokenizer` describes.

    The backend holds no state of a call: texts are cut by a view of it that shares its vocabulary, and filled afterwards.
    So threads may share one tokenizer, and no call changes what the next one does.

    A family's class may be made of its vocabulary's files where there is no `tokenizer.json`: `vocab_files_names` has them by
    the constructor's argument.

    Args:
        tokenizer_object: the backend; it is copied unless it was made for this tokenizer (`copy_tokenizer=False`).
        tokenizer_file: a `tokenizer.json`.
        add_bos_token, add_eos_token: put those tokens around a text instead of what the file's post-processor says. One that
            isn't given stays as the file has it.
        added_tokens_decoder: flags of added tokens by id, as older checkpoints keep them in `tokenizer_config.json`.
        settings: arguments of `PreTrainedTokenizerBase`.

    Raises:
        CorruptFileError: the file is not one that the `tokenizers` library reads.
    """

    vocab_files_names: ClassVar[dict[str, str]] = {}
    decided_by_file: ClassVar[tuple[str, ...]] = ()
    """Settings that a `tokenizer.json` has inside: there, a checkpoint's copies of them count for nothing."""

    def __init__(
        self,
        *,
        tokenizer_object: tokenizers.Tokenizer | None = None,
        tokenizer_file: str | Path | None = None,
        add_bos_token: bool | None = None,
        add_eos_token: bool | None = None,
        added_tokens_decoder: Mapping[Any, Any] | None = None,
        copy_tokenizer: bool = True,
        **settings: Any,
    ) -> None:
        if tokenizer_object is not None:
            backend = copy.deepcopy(tokenizer_object) if copy_tokenizer else tokenizer_object
        elif tokenizer_file is not None:
            backend = _read_backend(Path(tokenizer_file))
        else:
            raise TokenizerError(
                f"`{type(self).__name__}` is made of a `tokenizer_file` or a `tokenizer_object`; `from_pretrained` finds the file."
            )
        self._tokenizer = backend
        self._warned_no_token = False
        self._cut = backend.truncation
        self._filled = backend.padding
        backend.no_truncation()
        backend.no_padding()
        super().__init__(**{**_defaults_of(self._cut, self._filled), **settings})
        self._take_added_tokens(added_tokens_decoder or {})
        if add_bos_token is not None or add_eos_token is not None:
            self._put_around(add_bos_token, add_eos_token)

    def _take_added_tokens(self, decoder: Mapping[Any, Any]) -> None:
        """Give the backend the flags of `added_tokens_decoder`, then the special tokens that it doesn't know as such."""
        known = self.added_tokens_decoder
        try:
            listed = sorted((int(index), token) for index, token in decoder.items())
        except (TypeError, ValueError) as error:
            raise TokenizerError("`added_tokens_decoder` must map ids to tokens.") from error
        named = [token for token in self._special_tokens.values() if token is not None]
        special = {token.content for token in (*named, *self._extra_special_tokens)}
        names = {token.content for token in known.values()}
        new = []
        for index, token in listed:
            if not isinstance(token, str):
                read = as_added_token(token, f"added_tokens_decoder[{index}]")
                new += [read] if read != known.get(index) else []
            elif token not in names:  # a bare string has no flags to change
                new.append(AddedToken(token, special=token in special))
        names.update(token.content for token in new)
        for token in (*named, *self._extra_special_tokens):
            if token.content not in names:
                names.add(token.content)
                new.append(token)
        must_be_special = {token.content for token in named}
        if new:
            added = [replace(token, special=token.special or token.content in must_be_special) for token in new]
            self._add_tokens(added, special_tokens=False)

    @classmethod
    def _from_location(cls, location: Location, settings: dict[str, Any]) -> Self:
        if settings.get("tokenizer_file") is not None or settings.get("tokenizer_object") is not None:
            return cls(**settings)
        file = location.fetch(_newest_file(settings["other_settings"].get("fast_tokenizer_files")))
        if file is not None:
            return cls(**{**settings, "tokenizer_file": file})
        names = {name: each for name, each in cls.vocab_files_names.items() if name not in settings}
        paths = {name: location.fetch(each) for name, each in names.items()}
        if cls.vocab_files_names and all(path is not None for path in paths.values()):
            return cls(**{**settings, **paths})
        missing = [names[name] for name, path in paths.items() if path is None]
        raise TokenizerError(
            f"`{location.name}` has no `{TOKENIZER_FILE}`, which `{cls.__name__}` is made of"
            + (f", and no {shorten(missing)}, which would do as well. " if missing else ". ")
            + "Save the tokenizer there with `save_pretrained`, or name the folder that has its files; where they are of another "
            "kind, `AutoTokenizer` finds the plugin that reads them."
        )

    @classmethod
    def _settings(cls, location: Location, overrides: Mapping[str, Any]) -> dict[str, Any]:
        settings = super()._settings(location, overrides)
        # A checkpoint's flags are of a time before tokenizer.json, whose parts know better; and no checkpoint names the
        # file that is read. Keywords of the caller do count.
        unread = ["tokenizer_file", "tokenizer_object", "copy_tokenizer", *cls.vocab_files_names]
        if not cls.vocab_files_names or location.fetch(TOKENIZER_FILE) is not None:
            unread += ["add_bos_token", "add_eos_token"]
            for name in cls.decided_by_file:
                if name in settings and name not in overrides:
                    settings["other_settings"][name] = settings.pop(name)
        for name in unread:
            if name in settings and name not in overrides:
                del settings[name]
        return settings

    def _save_vocabulary(self, folder: Path) -> list[Path]:
        saved = self._tokenizer
        if self._cut is not None or self._filled is not None:
            saved = copy.deepcopy(saved)
            if self._cut is not None:
                saved.enable_truncation(**self._cut)
            if self._filled is not None:
                saved.enable_padding(**self._filled)
        path = folder / TOKENIZER_FILE
        with atomic_file(path) as temporary:
            temporary.write_text(saved.to_str(pretty=True), encoding="utf-8")
        return [path]

    # ---- the backend --------------------------------------------------------------------------------------------

    @property
    def is_fast(self) -> bool:
        """True: words and characters of tokens are known."""
        return True

    @property
    def backend_tokenizer(self) -> tokenizers.Tokenizer:
        """The `tokenizers.Tokenizer`; changes of its parts count from the next call on."""
        return self._tokenizer

    @property
    def decoder(self) -> Any:
        """The backend's decoder."""
        return self._tokenizer.decoder

    @property
    def add_bos_token(self) -> bool:
        """Whether a text begins with `bos_token`. Setting it replaces the post-processor."""
        return self._edges()[0]

    @add_bos_token.setter
    def add_bos_token(self, value: bool) -> None:
        self._put_around(value, None)

    @property
    def add_eos_token(self) -> bool:
        """Whether a text ends with `eos_token`. Setting it replaces the post-processor."""
        return self._edges()[1]

    @add_eos_token.setter
    def add_eos_token(self, value: bool) -> None:
        self._put_around(None, value)

    def _edges(self) -> tuple[bool, bool]:
        """Whether the post-processor puts `bos_token` first and `eos_token` last."""
        if self._tokenizer.post_processor is None:
            return False, False
        around = [index for which, index, _ in self._layout(pair=False) if which is None]
        places = [which for which, *_ in self._layout(pair=False)]
        starts = bool(places) and places[0] is None and around[0] == self.bos_token_id
        ends = bool(places) and places[-1] is None and around[-1] == self.eos_token_id
        return starts, ends

    def _put_around(self, bos: bool | None, eos: bool | None) -> None:
        had_bos, had_eos = self._edges()
        special = []
        for wanted, had, name in ((bos, had_bos, "bos"), (eos, had_eos, "eos")):
            token, index = getattr(self, f"{name}_token"), getattr(self, f"{name}_token_id")
            if wanted and index is None:
                raise TokenizerError(f"`add_{name}_token` needs a `{name}_token` in the vocabulary, and it is `{token}`.")
            if had if wanted is None else wanted:
                special.append({"id": name, "ids": [index], "tokens": [token]})
        names = [each["id"] for each in special]
        around = [part for part in ("bos", "$", "eos") if part == "$" or part in names]
        first = [f"{'$A' if part == '$' else part}:0" for part in around]
        second = [f"{'$B' if part == '$' else part}:1" for part in around]
        self._tokenizer.post_processor = TemplateProcessing(single=first, pair=first + second, special_tokens=special)

    def _set_template(self, single: str, pair: str, **tokens: str | None) -> None:
        """Put special tokens around texts: templates of `$A`, `$B` and the names of `tokens`, with `:1` for a type id.

        Raises:
            TokenizerError: one of the tokens is not set.
        """
        unset = [name for name, token in tokens.items() if token is None]
        given = {name: token for name, token in tokens.items() if token is not None}
        if unset:
            raise TokenizerError(f"`{type(self).__name__}` puts {shorten(unset)} around texts, which is not set: pass a token.")
        special = [{"id": name, "ids": [self.convert_tokens_to_ids(token)], "tokens": [token]} for name, token in given.items()]
        self._tokenizer.post_processor = TemplateProcessing(single=single, pair=pair, special_tokens=special)

    def _view(self, truncation: Truncation | None, split_special_tokens: bool) -> tokenizers.Tokenizer:
        """A tokenizer with the same parts and vocabulary, shared and not copied, that cuts as asked."""
        whole = self._tokenizer
        view = tokenizers.Tokenizer(whole.model)
        for part in ("normalizer", "pre_tokenizer", "decoder"):
            if getattr(whole, part) is not None:
                setattr(view, part, getattr(whole, part))
        added = whole.get_added_tokens_decoder()
        view.add_tokens([added[index] for index in sorted(added)])
        if view.get_added_tokens_decoder().keys() != added.keys():  # ids with gaps: only a true copy keeps them
            view = copy.deepcopy(whole)
            view.post_processor = None
        view.encode_special_tokens = split_special_tokens
        if truncation is not None:
            view.enable_truncation(
                max_length=truncation.max_length,
                stride=truncation.stride,
                strategy=truncation.strategy,
                direction=truncation.side,
            )
        if whole.post_processor is not None:  # last: else the stride is weighed with special tokens that nobody may ask for
            view.post_processor = whole.post_processor
        return view

    def _encode_batch(
        self,
        texts: Sequence[Any],
        *,
        add_special_tokens: bool,
        is_split_into_words: bool,
        truncation: Truncation | None,
        split_special_tokens: bool,
    ) -> list[Encoding]:
        def encode(backend: tokenizers.Tokenizer) -> list[Encoding]:
            flags = {"add_special_tokens": add_special_tokens, "is_pretokenized": is_split_into_words}
            if len(texts) == 1:  # no thread pool for one text: a process that forks later keeps the use of it
                both = is_pair(texts[0], is_split_into_words)
                return [cast(Encoding, backend.encode(*(texts[0] if both else texts), **flags))]
            return cast("list[Encoding]", backend.encode_batch(list(texts), **flags))

        whole = self._tokenizer
        as_is = whole.encode_special_tokens == split_special_tokens
        with _clear_errors(texts):
            if as_is and truncation is None:
                return encode(whole)
            if truncation is None:
                return encode(self._view(None, split_special_tokens))
            self._check_truncation(texts, truncation, add_special_tokens)
            if as_is and not is_split_into_words and _likely_short(texts, truncation.max_length):
                encodings = encode(whole)
                if all(len(encoding.ids) <= truncation.max_length for encoding in encodings):
                    return encodings
            return encode(self._view(truncation, split_special_tokens))

    def _decode(self, ids: list[int], *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool) -> str:
        if ids and max(ids) >= len(self) and not self._warned_no_token:
            self._warned_no_token = True  # a model's embeddings may be padded, so it is no error
            unknown = next((index for index in ids if self._id_to_token(index) is None), None)
            if unknown is not None:
                warnings.warn(f"`token_ids` has {unknown}, and no token has that id: such ids are left out.", stacklevel=4)
        try:
            text = self._tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)
        except OverflowError as error:
            raise TokenizerError(f"`token_ids` has {max(ids)}, which no vocabulary holds.") from error
        if clean_up_tokenization_spaces and type(self._tokenizer.model).__name__ == "BPE":
            # many checkpoints carry the setting by accident; asking for it in a call is no accident
            if not self.clean_up_tokenization_spaces:
                warnings.warn("`clean_up_tokenization_spaces` is not applied: a BPE's spaces are the text's own.", stacklevel=3)
            return text
        return self.clean_up_tokenization(text) if clean_up_tokenization_spaces else text

    def _add_tokens(self, tokens: Sequence[AddedToken], special_tokens: bool) -> int:
        made = [
            tokenizers.AddedToken(
                token.content,
                single_word=token.single_word,
                lstrip=token.lstrip,
                rstrip=token.rstrip,
                normalized=bool(token.normalized),
                special=token.special,
            )
            for token in tokens
        ]
        return self._tokenizer.add_special_tokens(made) if special_tokens else self._tokenizer.add_tokens(made)

    # ---- vocabulary ---------------------------------------------------------------------------------------------

    @property
    def vocab_size(self) -> int:
        return self._tokenizer.get_vocab_size(with_added_tokens=False)

    def __len__(self) -> int:
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    def get_vocab(self) -> dict[str, int]:
        return self._tokenizer.get_vocab(with_added_tokens=True)

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        added = self._tokenizer.get_added_tokens_decoder()
        return {index: as_added_token(token, "added_tokens_decoder") for index, token in added.items()}

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        return self._tokenizer.num_special_tokens_to_add(pair)

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        decoder = self._tokenizer.decoder
        return " ".join(tokens) if decoder is None else decoder.decode(list(tokens))

    def _token_to_id(self, token: str) -> int | None:
        return self._tokenizer.token_to_id(token)

    def _id_to_token(self, index: int) -> str | None:
        return self._tokenizer.id_to_token(index) if 0 <= index < 1 << 32 else None


def _read_backend(path: Path) -> tokenizers.Tokenizer:
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:
        raise CorruptFileError(
            f"`{path}` is not a tokenizer that the `tokenizers` library {tokenizers.__version__} reads: {error}. Download or write "
            "it again; a newer file may need `pip install -U tokenizers`.",
            path=str(path),
        ) from error


def _newest_file(names: Any) -> str:
    """Some checkpoints keep a file for each format, `tokenizer.4.0.0.json`; the newest format is wanted."""
    versions: dict[tuple[int, ...], str] = {(0,): TOKENIZER_FILE}
    for name in names if isinstance(names, list) else ():
        parts = str(name).removeprefix("tokenizer.").removesuffix(".json").split(".")
        if all(part.isdecimal() for part in parts):
            versions[tuple(int(part) for part in parts)] = str(name)
    return versions[max(versions)]


def _defaults_of(cut: Mapping[str, Any] | None, filled: Mapping[str, Any] | None) -> dict[str, Any]:
    """Settings that a `tokenizer.json` with truncation and padding inside stands for; lengths are a matter of each call."""
    settings = {} if cut is None else {"truncation_side": cut["direction"]}
    if filled is not None:
        settings["padding_side"] = filled["direction"]
        settings["pad_token"], settings["pad_token_type_id"] = filled["pad_token"], filled["pad_type_id"]
    return settings


def _likely_short(texts: Sequence[Any], max_length: int) -> bool:
    """Whether no text is longer than that in characters: then it is seldom longer in tokens."""
    sizes = (sum(map(len, text)) if isinstance(text, (list, tuple)) else len(text) for text in texts)
    return all(size <= max_length for size in sizes)


@contextmanager
def _clear_errors(texts: Sequence[Any]) -> Iterator[None]:
    """Say in words what the backend refuses."""
    try:
        yield
    except TypeError as error:
        raise lone_surrogate_error(texts) or TokenizerError(f"The backend cannot encode these texts: {error}.") from error
    except BaseException as error:
        said = str(error)
        if "too short to respect" in said or "`stride` must be" in said:
            raise TokenizerError(
                "`truncation` cannot bring these texts down to `max_length`: what it may cut is shorter than what must go, or what "
                'is left is no longer than `stride`. Allow more tokens, a smaller `stride`, or pass `truncation="longest_first"`, '
                "which cuts both texts of a pair."
            ) from error
        if type(error) is not Exception:  # the library raises plain ones
            raise
        raise TokenizerError(f"The backend cannot encode these texts: {error}.") from error
