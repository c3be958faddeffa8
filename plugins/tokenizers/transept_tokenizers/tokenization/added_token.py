"""A token that stands beside the vocabulary that the algorithm learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from transept.errors import TokenizerError

__all__ = ["AddedToken", "TokenLike", "as_added_token"]


@dataclass(slots=True)
class AddedToken:
    """A token that is found in the text before anything else looks at it.

    `single_word`: it only counts between word boundaries. `lstrip`, `rstrip`: it takes the spaces on that side with it.
    `special`: `skip_special_tokens` leaves it out. `normalized`: it is looked for in the normalized text; by default all but
    special ones are.
    """

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    special: bool = False
    normalized: bool | None = None

    def __post_init__(self) -> None:
        if self.normalized is None:
            self.normalized = not self.special

    def __str__(self) -> str:
        return self.content

    def __hash__(self) -> int:
        return hash(self.content)

    def to_dict(self) -> dict[str, object]:
        """As checkpoints write it."""
        return asdict(self)


TokenLike = str | AddedToken
"""A token by its text, or with its flags."""

_FLAGS = ("single_word", "lstrip", "rstrip", "special", "normalized")


def as_added_token(value: object, where: str, **defaults: bool) -> AddedToken:
    """Read a token from a string, a checkpoint's mapping or any object with the same attributes.

    `where` names its place for the error; `defaults` are the flags that it doesn't give.
    """
    if isinstance(value, AddedToken):
        return value
    if isinstance(value, str):
        return AddedToken(value, **defaults)
    if isinstance(value, Mapping):
        content, flags = value.get("content"), {name: value[name] for name in _FLAGS if name in value}
    else:
        content = getattr(value, "content", None)
        flags = {name: getattr(value, name) for name in _FLAGS if hasattr(value, name)}
    if not isinstance(content, str) or not all(isinstance(flag, bool) for flag in flags.values()):
        raise TokenizerError(f"`{where}` is `{value!r:.200}`: give a string, or an `AddedToken` with a string as content.")
    return AddedToken(content, **{**defaults, **flags})
