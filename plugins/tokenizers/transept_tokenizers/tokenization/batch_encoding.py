"""What a tokenizer returns: named lists or tensors, and the way back from tokens to words and characters."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

from transept.errors import TokenizerError, did_you_mean

from .encoding import Encoding

__all__ = ["BatchEncoding", "CharSpan", "TokenSpan", "plain_lists"]


class CharSpan(NamedTuple):
    """Characters `start` to `end` (exclusive) of a text."""

    start: int
    end: int


class TokenSpan(NamedTuple):
    """Tokens `start` to `end` (exclusive) of an encoded text."""

    start: int
    end: int


class BatchEncoding(UserDict[str, Any]):
    """A mapping of `input_ids`, `attention_mask`, … to lists or tensors of shape (batch, seq), or (seq,) for one text.

    A string key gives a value, as does an attribute; an integer gives the backend's `Encoding` of that row, a slice those
    of several rows (or, without encodings, the slice of each value). `model(**inputs)` works.
    """

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        encoding: Encoding | Sequence[Encoding] | None = None,
        tensor_type: str | None = None,
        prepend_batch_axis: bool = False,
        n_sequences: int | None = None,
    ) -> None:
        super().__init__(data)
        many = encoding is None or isinstance(encoding, Sequence)
        self._encodings: list[Encoding] | None = list(encoding or []) if many else [encoding]  # type: ignore[arg-type,list-item]
        if encoding is None:
            self._encodings = None
        self._n_sequences = n_sequences
        if n_sequences is None and self._encodings:
            self._n_sequences = self._encodings[0].n_sequences
        self.convert_to_tensors(tensor_type, prepend_batch_axis=prepend_batch_axis)

    def __getitem__(self, item: Any) -> Any:
        if isinstance(item, str):
            return self.data[item]
        if self._encodings is not None:
            return self._encodings[item]
        if isinstance(item, slice):
            return {key: value[item] for key, value in self.data.items()}
        raise KeyError(f"`{item!r}`: a key is a string or a slice; an integer needs a tokenizer that keeps its encodings")

    def __getattr__(self, name: str) -> Any:
        data = self.__dict__.get("data", {})
        if name in data:
            return data[name]
        raise AttributeError(f"`BatchEncoding` has no `{name}`.{did_you_mean(name, data)}")

    def __getstate__(self) -> dict[str, Any]:
        return {"data": self.data, "encodings": self._encodings, "n_sequences": self._n_sequences}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.data = state["data"]
        self._encodings, self._n_sequences = state["encodings"], state["n_sequences"]

    @property
    def n_sequences(self) -> int | None:
        """1 for texts, 2 for pairs, None when unknown."""
        return self._n_sequences

    @property
    def is_fast(self) -> bool:
        """Whether the backend's encodings are there, which the methods about words and characters need."""
        return self._encodings is not None

    @property
    def encodings(self) -> list[Encoding] | None:
        """The backend's encodings, one a row."""
        return self._encodings

    def _encoding(self, row: int) -> Encoding:
        if not self._encodings:
            raise TokenizerError(
                "These inputs carry no encodings, which know tokens' words and characters: use what the tokenizer "
                "itself returned, not a copy or the result of `pad`."
            )
        return self._encodings[row]

    def tokens(self, batch_index: int = 0) -> list[str]:
        """The row's tokens."""
        return self._encoding(batch_index).tokens

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """For each token 0 or 1, the text of the pair that it is from; None for special tokens."""
        return self._encoding(batch_index).sequence_ids

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """For each token the index of its word; None for special tokens."""
        return self._encoding(batch_index).word_ids

    # The methods below take (row, index), or (index) alone for the first row.

    def token_to_sequence(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """The text of the pair that a token is from, 0 or 1."""
        row, index = _row(batch_or_token_index, token_index)
        encoding = self._encoding(row)
        return encoding.token_to_sequence(_from_end(index, encoding))

    def token_to_word(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """The word that a token belongs to."""
        row, index = _row(batch_or_token_index, token_index)
        encoding = self._encoding(row)
        return encoding.token_to_word(_from_end(index, encoding))

    def token_to_chars(self, batch_or_token_index: int, token_index: int | None = None) -> CharSpan | None:
        """The characters that a token stands for; None for a special token."""
        row, index = _row(batch_or_token_index, token_index)
        encoding = self._encoding(row)
        span = encoding.token_to_chars(_from_end(index, encoding))
        return None if span is None else CharSpan(*span)

    def word_to_tokens(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> TokenSpan | None:
        """The tokens of a word."""
        row, index = _row(batch_or_word_index, word_index)
        span = self._encoding(row).word_to_tokens(index, sequence_index)
        return None if span is None else TokenSpan(*span)

    def word_to_chars(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> CharSpan | None:
        """The characters of a word."""
        row, index = _row(batch_or_word_index, word_index)
        span = self._encoding(row).word_to_chars(index, sequence_index)
        return None if span is None else CharSpan(*span)

    def char_to_token(self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0) -> int | None:
        """The token that holds a character; None where no token does (trimmed space)."""
        row, index = _row(batch_or_char_index, char_index)
        return self._encoding(row).char_to_token(index, sequence_index)

    def char_to_word(self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0) -> int | None:
        """The word that holds a character."""
        row, index = _row(batch_or_char_index, char_index)
        return self._encoding(row).char_to_word(index, sequence_index)

    def convert_to_tensors(self, tensor_type: str | None = None, prepend_batch_axis: bool = False) -> Self:
        """Turn the values into tensors in place: "pt" (int64 `torch.Tensor`) or "np" (`numpy.ndarray`).

        Raises `TokenizerError` naming the value whose rows have different lengths.
        """
        if tensor_type is None:
            return self
        is_tensor, as_tensor = _tensor_functions(tensor_type)
        for key, value in self.data.items():
            if is_tensor(value):
                continue
            rows = [value] if prepend_batch_axis else value
            try:
                self.data[key] = as_tensor(rows)
            except (ValueError, TypeError, RuntimeError) as error:
                raise TokenizerError(_why_no_tensor(key, rows), key=key) from error
        return self

    def to(self, device: Any, *, non_blocking: bool = False) -> Self:
        """Move every tensor to `device`, in place. It takes a device, not a dtype: ids stay integers."""
        import torch

        if isinstance(device, torch.dtype):
            raise TokenizerError(f"`BatchEncoding.to({device})`: ids stay integers; give a device, and cast the model instead.")
        for key, value in self.data.items():
            if isinstance(value, torch.Tensor):
                self.data[key] = value.to(device=device, non_blocking=non_blocking)
        return self


def _row(row_or_index: int, index: int | None) -> tuple[int, int]:
    return (0, row_or_index) if index is None else (row_or_index, index)


def _from_end(index: int, encoding: Encoding) -> int:
    return index + len(encoding.ids) if index < 0 else index


def _tensor_functions(tensor_type: str) -> tuple[Any, Any]:
    """For a tensor type: is a value one, and make one of nested lists."""
    if tensor_type == "pt":
        import torch

        def tensor(rows: Any) -> Any:
            if isinstance(rows, list) and rows and isinstance(rows[0], torch.Tensor):
                return torch.stack(rows)
            made = torch.tensor(rows)
            return made if made.numel() else made.to(torch.int64)

        return torch.is_tensor, tensor
    if tensor_type == "np":
        try:
            import numpy as np
        except ImportError as error:
            raise TokenizerError('`return_tensors="np"` needs NumPy: pip install numpy') from error

        def array(rows: Any) -> Any:
            made = np.asarray(rows)
            return made if made.size else made.astype(np.int64)

        return lambda value: isinstance(value, np.ndarray), array
    raise TokenizerError(f'`return_tensors` is `{tensor_type!r}`: give "pt" (torch), "np" (NumPy) or None (lists).')


def _why_no_tensor(key: str, rows: Any) -> str:
    lengths = {len(row) for row in rows if isinstance(row, (list, tuple))} if isinstance(rows, (list, tuple)) else set()
    if len(lengths) > 1:
        return (
            f"No tensor can be made of `{key}`: its rows have {min(lengths)} to {max(lengths)} entries. Ask for "
            "`padding=True` to fill the short ones, `truncation=True` with a `max_length` to cut the long ones, or both."
        )
    return f"No tensor can be made of `{key}`: its entries are not numbers, or are nested unevenly."


def plain_lists(value: Any) -> Any:
    """Nested lists of Python numbers out of tensors, arrays and lists of them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (list, tuple)) and value and not isinstance(value[0], int):
        return [plain_lists(each) for each in value]
    return value
