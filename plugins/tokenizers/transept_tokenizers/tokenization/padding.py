"""Filling rows that were encoded before: what data collators call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transept.errors import TokenizerError, shorten

from .batch_encoding import BatchEncoding, plain_lists
from .lengths import Padding, padding_from

__all__ = ["RowPadding"]


class RowPadding:
    """The part of a tokenizer that fills rows of ids to one length."""

    model_input_names: list[str]
    model_max_length: int
    padding_side: str
    pad_token_type_id: int
    pad_token: str | None
    pad_token_id: int | None

    def pad(
        self,
        encoded_inputs: Any,
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
    ) -> BatchEncoding:
        """Fill encoded inputs: a mapping of lists (one text, or a batch) or a list of mappings, as a dataset gives them.

        Ids, attention mask, token type ids and special tokens mask are filled; other keys pass unchanged. Tensors and arrays
        come back as such.

        Raises:
            TokenizerError: no ids among the inputs, or nothing to fill with.
        """
        if isinstance(encoded_inputs, (list, tuple)):
            if not all(isinstance(example, Mapping) for example in encoded_inputs):
                raise TokenizerError("`encoded_inputs` must be a mapping of lists, or a list of mappings.")
            keys = list(encoded_inputs[0]) if encoded_inputs else []
            data = {key: [example[key] for example in encoded_inputs] for key in keys}
        else:
            data = dict(encoded_inputs)
        name = self.model_input_names[0]
        if name not in data:
            raise TokenizerError(f"`encoded_inputs` has no `{name}`; it has {shorten(data) or 'nothing'}.")
        tensor_type = return_tensors or _tensor_type(data[name])
        data = {key: plain_lists(value) for key, value in data.items()}
        rows = data[name]
        is_batch = bool(rows) and isinstance(rows[0], (list, tuple))
        if not is_batch:
            data = {key: [value] for key, value in data.items()}
        fill = padding_from(
            padding,
            max_length,
            pad_to_multiple_of,
            model_max_length=self.model_max_length,
            side=padding_side or self.padding_side,
            pad_token=self.pad_token,
            pad_id=self.pad_token_id if padding is not False else None,
        )
        wants_mask = "attention_mask" in self.model_input_names if return_attention_mask is None else return_attention_mask
        if wants_mask and "attention_mask" not in data:
            data["attention_mask"] = [[1] * len(row) for row in data[name]]
        if fill is not None:
            self._fill_rows(data, name, fill)
        if not is_batch:
            data = {key: value[0] for key, value in data.items()}
        return BatchEncoding(data, tensor_type=tensor_type)

    def _fill_rows(self, data: dict[str, Any], name: str, fill: Padding) -> None:
        lengths = [len(row) for row in data[name]]
        target = fill.target(lengths)
        fillers = {
            name: fill.pad_id,
            "attention_mask": 0,
            "token_type_ids": self.pad_token_type_id,
            "special_tokens_mask": 1,
        }
        for key in fillers.keys() & data.keys():
            rows = data[key]
            if len(rows) != len(lengths):
                raise TokenizerError(f"`{key}` has {len(rows)} rows and `{name}` {len(lengths)}.")
            data[key] = [
                _filled(row, target - length, fillers[key], fill.side) for row, length in zip(rows, lengths, strict=True)
            ]


def _filled(row: Sequence[Any], missing: int, filler: int, side: str) -> list[Any]:
    fill = [filler] * missing
    return [*fill, *row] if side == "left" else [*row, *fill]


def _tensor_type(value: Any) -> str | None:
    """The kind of tensor that rows are, or are made of."""
    first = value[0] if isinstance(value, (list, tuple)) and len(value) else value
    module = type(first).__module__.partition(".")[0]
    return {"torch": "pt", "numpy": "np"}.get(module)
