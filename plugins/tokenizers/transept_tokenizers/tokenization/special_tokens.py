"""Special tokens by name: `tokenizer.eos_token`, `tokenizer.eos_token_id`, and names that one model alone has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transept.errors import TokenizerError, did_you_mean

from .added_token import AddedToken, TokenLike, as_added_token

__all__ = ["SPECIAL_TOKEN_NAMES", "SpecialTokens"]

SPECIAL_TOKEN_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_EXTRA = "extra_special_tokens"
_ALIASES = {"additional_special_tokens": _EXTRA}


def _split(name: str) -> tuple[str, bool]:
    """`eos_token_id` is (`eos_token`, True): the token's name, and whether its id is meant."""
    stem = name.removesuffix("_ids") if name.endswith("_tokens_ids") else name.removesuffix("_id")
    return _ALIASES.get(stem, stem), stem != name


class SpecialTokens:
    """The part of a tokenizer that knows its special tokens.

    Reading `x_token` gives its text or None, `x_token_id` its id or None; both can be assigned. A token that is assigned
    and not in the vocabulary has no id: `add_special_tokens` is what puts it there.
    """

    bos_token: str | None
    eos_token: str | None
    unk_token: str | None
    sep_token: str | None
    pad_token: str | None
    cls_token: str | None
    mask_token: str | None
    bos_token_id: int | None
    eos_token_id: int | None
    unk_token_id: int | None
    sep_token_id: int | None
    pad_token_id: int | None
    cls_token_id: int | None
    mask_token_id: int | None
    extra_special_tokens: list[str]
    additional_special_tokens: list[str]
    extra_special_tokens_ids: list[int]
    additional_special_tokens_ids: list[int]

    _special_tokens: dict[str, AddedToken | None]
    _extra_special_tokens: list[AddedToken]

    def __init__(self, named: Mapping[str, object], extra: object = None) -> None:
        self._special_tokens = dict.fromkeys(SPECIAL_TOKEN_NAMES)
        self._extra_special_tokens = []
        if isinstance(extra, Mapping):
            named, extra = {**named, **extra}, None
        for name, value in named.items():
            self._special_tokens[name] = None if value is None else as_added_token(value, name, special=True)
        self.extra_special_tokens = extra or []  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        special = self.__dict__.get("_special_tokens", {})
        stem, wants_id = _split(name)
        if stem in special:
            token = special[stem]
            if token is None:
                return None
            return self.convert_tokens_to_ids(token.content) if wants_id else token.content
        if stem == _EXTRA and special:
            tokens = [token.content for token in self._extra_special_tokens]
            return self.convert_tokens_to_ids(tokens) if wants_id else tokens
        raise AttributeError(
            f"`{type(self).__name__}` has no attribute `{name}`.{did_you_mean(name, [*special, *dir(type(self))])}"
        )

    def __setattr__(self, name: str, value: Any) -> None:
        stem, is_id = _split(name)
        if stem in self.__dict__.get("_special_tokens", {}):
            if is_id and value is not None:
                value = self._token_of(value, name)
            self._special_tokens[stem] = None if value is None else as_added_token(value, name, special=True)
        elif stem == _EXTRA:
            if not isinstance(value, (list, tuple)):
                raise TokenizerError(f"`{name}` is `{value!r:.200}`: give a list of tokens.")
            tokens = [self._token_of(each, name) for each in value] if is_id else value
            self._extra_special_tokens = [as_added_token(token, name, special=True) for token in tokens]
        else:
            super().__setattr__(name, value)

    def _token_of(self, index: int, name: str) -> str:
        token = self.convert_ids_to_tokens(index)
        if token is None:
            raise TokenizerError(f"`{name}` is {index}, which is not in the vocabulary.")
        return token

    @property
    def special_tokens_map(self) -> dict[str, str]:
        """The named special tokens that are set: `{"eos_token": "</s>", …}`."""
        return {name: token.content for name, token in self._special_tokens.items() if token is not None}

    @property
    def all_special_tokens(self) -> list[str]:
        """Every special token once, the named ones first."""
        named = [token.content for token in self._special_tokens.values() if token is not None]
        return list(dict.fromkeys([*named, *self.extra_special_tokens]))

    @property
    def all_special_ids(self) -> list[int]:
        """Ids of `all_special_tokens`."""
        return self.convert_tokens_to_ids(self.all_special_tokens)

    def add_special_tokens(
        self,
        special_tokens_dict: Mapping[str, TokenLike | Sequence[TokenLike]],
        replace_extra_special_tokens: bool = True,
    ) -> int:
        """Set special tokens by name, and add those that the vocabulary lacks.

        Keys: `bos_token`, …, names that this tokenizer has, `extra_special_tokens` (a list). Returns how many tokens are
        new; resize the model's embeddings then.
        """
        tokens: list[AddedToken] = []
        for key, value in special_tokens_dict.items():
            name = _ALIASES.get(key, key)
            if name == _EXTRA:
                if not isinstance(value, (list, tuple)):
                    raise TokenizerError(f"`{key}` is `{value!r:.200}`: give a list of tokens.")
                new = [as_added_token(token, key, special=True) for token in value]
                kept = [] if replace_extra_special_tokens else self._extra_special_tokens
                present = {token.content for token in kept}
                self._extra_special_tokens = [*kept, *(token for token in new if token.content not in present)]
                tokens += new
            elif name in self._special_tokens:
                token = as_added_token(value, key, special=True)
                self._special_tokens[name] = token
                tokens.append(token)
            else:
                known = [*self._special_tokens, _EXTRA]
                raise TokenizerError(
                    f"`{key}` is not the name of a special token.{did_you_mean(key, known)} Known: {', '.join(known)}."
                )
        return self.add_tokens(tokens, special_tokens=True)

    def add_tokens(self, new_tokens: TokenLike | Sequence[TokenLike], special_tokens: bool = False) -> int:
        """Add tokens that the vocabulary lacks, at its end; returns how many are new. Resize the model's embeddings then."""
        if not new_tokens:
            return 0
        tokens = new_tokens if isinstance(new_tokens, (list, tuple)) else [new_tokens]
        defaults = {"special": True} if special_tokens else {}
        return self._add_tokens([as_added_token(token, "new_tokens", **defaults) for token in tokens], special_tokens)

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        raise NotImplementedError

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        raise NotImplementedError

    def _add_tokens(self, tokens: Sequence[AddedToken], special_tokens: bool) -> int:
        raise NotImplementedError
