"""The tokenizer that a GGUF file carries: vocabulary, merges or scores, special tokens and chat template."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from transept_tokenizers.fast import PreTrainedTokenizerFast

from transept.errors import TokenizerError
from transept.files import Location, open_location

from .files import GGUFModel
from .splitting import SPLITTINGS, Splitting

__all__ = ["GGUFTokenizer"]

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED = 1, 2, 3, 4
_LONGEST_PIECE = 1024
_LOCATION = ("revision", "subfolder", "cache_dir", "token", "local_files_only", "force_download")
_SPECIAL = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
_SENTENCEPIECE_IDS = {"bos": 1, "eos": 2, "unknown": 0}
"""What `llama` vocabularies have where the file does not say it."""


class GGUFTokenizer:
    """Makes a `PreTrainedTokenizerFast` of a GGUF file's metadata."""

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str] | Location, **kwargs: Any) -> PreTrainedTokenizerFast:
        """The tokenizer of the GGUF file at a location. Keywords are those of `PreTrainedTokenizerFast`, and go first.

        Raises:
            TokenizerError: the file has no tokenizer, or one of a kind that is not known.
            CorruptFileError: the file is damaged.
        """
        location = open_location(name, **{key: kwargs.pop(key) for key in _LOCATION if key in kwargs})
        vocabulary = _Vocabulary(GGUFModel(location))
        settings = {**vocabulary.settings(), **kwargs}
        return PreTrainedTokenizerFast.from_pretrained(
            location, tokenizer_object=vocabulary.tokenizer(), copy_tokenizer=False, **settings
        )


class _Vocabulary:
    """The `tokenizer.*` keys of a file."""

    def __init__(self, model: GGUFModel) -> None:
        self.path = model.path
        self._metadata: Mapping[str, Any] = model.metadata
        self.kind = self._get("model", str)
        if self.kind is None:
            raise TokenizerError(f"`{self.path}` has no tokenizer. Put the model's `tokenizer.json` beside the file.")
        if self.kind not in ("gpt2", "llama"):
            raise TokenizerError(
                f"`{self.path}` has a tokenizer of kind `{self.kind}`; `gpt2` and `llama` are known. "
                "Put the model's `tokenizer.json` beside the file."
            )
        self.tokens: list[str] = self._strings("tokens")
        self.ids: dict[str, int] = {}
        for index, token in enumerate(self.tokens):
            self.ids.setdefault(token, index)
        types = self._get("token_type", list) or []
        if types and len(types) != len(self.tokens):
            raise self._error(f"`token_type` has {len(types)} entries for {len(self.tokens)} tokens")
        self.types: list[Any] = types or [_NORMAL] * len(self.tokens)
        self.splitting: Splitting | None = self._splitting() if self.kind == "gpt2" else None

    def _splitting(self) -> Splitting:
        name = self._get("pre", str)
        if name not in SPLITTINGS:
            says = (
                "does not say how text is split"
                if name is None
                else f"says that text is split as `{name}`, which is not known here"
            )
            warnings.warn(
                f"`{self.path}` {says} (`tokenizer.ggml.pre`). It is split as GPT-2 does: some texts may get other ids than the "
                "model was trained on. Put its `tokenizer.json` beside the file.",
                stacklevel=5,
            )
        return SPLITTINGS.get(name, SPLITTINGS["gpt-2"])

    # -- reading -----------------------------------------------------------------------------------------------------

    def _get(self, key: str, kind: type) -> Any:
        value = self._metadata.get(f"tokenizer.ggml.{key}")
        if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            raise self._error(f"`{key}` is a {type(value).__name__}, where a {kind.__name__} belongs")
        return value

    def _strings(self, key: str) -> list[str]:
        values = self._get(key, list)
        if not values:
            raise self._error(f"`{key}` is missing")
        if not isinstance(values[0], str):
            raise self._error(f"`{key}` is no list of strings")
        return list(values)

    def _error(self, what: str) -> TokenizerError:
        return TokenizerError(
            f"The tokenizer in `{self.path}` cannot be made: {what}. Put the model's `tokenizer.json` beside it."
        )

    # -- what it says --------------------------------------------------------------------------------------------------

    def settings(self) -> dict[str, Any]:
        """Arguments for `PreTrainedTokenizerFast`."""
        settings: dict[str, Any] = {}
        for name, key in _SPECIAL.items():
            token = self._special(key)
            if token is not None:
                settings[name] = token
        by_default = self.kind == "llama" or (self.splitting is not None and self.splitting.add_bos)
        for which, default in (("bos", by_default), ("eos", False)):
            if self._adds(which, default) and f"{which}_token" in settings:
                settings[f"add_{which}_token"] = True
        template = self._chat_template()
        if template is not None:
            settings["chat_template"] = template
        context = self._metadata.get(f"{self._metadata.get('general.architecture')}.context_length")
        if isinstance(context, int) and context > 0:
            settings["model_max_length"] = context
        return settings

    def _special(self, key: str) -> str | None:
        index = self._get(f"{key}_token_id", int)
        if index is None and self.kind == "llama":
            index = _SENTENCEPIECE_IDS.get(key)
            index = index if index is not None and index < len(self.tokens) else None
        if index is not None and not 0 <= index < len(self.tokens):
            raise self._error(f"`{key}_token_id` is {index}, there are {len(self.tokens)} tokens")
        return None if index is None else self.tokens[index]

    def _adds(self, which: str, default: bool) -> bool:
        stated = self._get(f"add_{which}_token", bool)
        return default if stated is None else bool(stated)

    def _chat_template(self) -> str | dict[str, str] | None:
        named = {
            key.removeprefix("tokenizer.chat_template."): self._metadata[key]
            for key in self._metadata
            if key.startswith("tokenizer.chat_template.")
        }
        default = self._metadata.get("tokenizer.chat_template")
        if not named:
            return default
        return named if default is None else {"default": default, **named}

    # -- building ----------------------------------------------------------------------------------------------------

    def tokenizer(self) -> Tokenizer:
        """The backend that encodes as the file says."""
        tokenizer = self._sentencepiece() if self.splitting is None else self._byte_level(self.splitting)
        typed = list(zip(self.tokens, self.types, strict=True))
        tokenizer.add_special_tokens([_added(token, True) for token, kind in typed if kind in (_UNKNOWN, _CONTROL)])
        tokenizer.add_tokens([_added(token, False) for token, kind in typed if kind == _USER_DEFINED])
        return tokenizer

    def _byte_level(self, splitting: Splitting) -> Tokenizer:
        # tokens are spelled in letters that stand for bytes, so the one space in a merge is between its two tokens
        merges = [(left, right) for left, _, right in (merge.partition(" ") for merge in self._strings("merges"))]
        tokenizer = Tokenizer(self._model(merges, ignore_merges=splitting.ignore_merges))
        tokenizer.pre_tokenizer = splitting.build()
        tokenizer.decoder = decoders.ByteLevel()
        return tokenizer

    def _sentencepiece(self) -> Tokenizer:
        unknown = self._special("unknown")
        tokenizer = Tokenizer(self._model(self._merges(), unk_token=unknown, fuse_unk=True, byte_fallback=True))
        prefixed = self._get("add_space_prefix", bool) is not False
        steps: list[Any] = []
        if self._get("remove_extra_whitespaces", bool):
            steps += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
        if prefixed:
            steps.append(normalizers.Prepend("▁"))
        tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
        strip = [decoders.Strip(" ", 1, 0)] if prefixed else []
        tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip])
        return tokenizer

    def _model(self, merges: list[tuple[str, str]], **options: Any) -> models.BPE:
        try:
            return models.BPE(self.ids, merges, **options)
        except Exception as error:  # the library raises plain `Exception`
            raise self._error(f"its merges do not fit its tokens ({error})") from error

    def _merges(self) -> list[tuple[str, str]]:
        """The merges that scores stand for: two tokens whose join is a token merge in the order of its score.

        A SentencePiece BPE model joins, again and again, the neighbours whose join scores highest.
        """
        scores = self._get("scores", list)
        if not scores or len(scores) != len(self.tokens) or not isinstance(scores[0], float):
            raise self._error("`scores` does not have a number for each token")
        found: list[tuple[float, int, int, str, str]] = []
        for token, kind, score in zip(self.tokens, self.types, scores, strict=True):
            if kind != _NORMAL:
                continue
            if len(token) > _LONGEST_PIECE:
                raise self._error(f"a token has {len(token)} characters")
            for cut in range(1, len(token)):
                left, right = token[:cut], token[cut:]
                if left in self.ids and right in self.ids:
                    found.append((-score, self.ids[left], self.ids[right], left, right))
        found.sort()
        return [(left, right) for *_, left, right in found]


def _added(token: str, special: bool) -> AddedToken:
    return AddedToken(token, normalized=False, special=special)
