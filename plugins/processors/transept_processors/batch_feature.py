"""What a feature extractor or image processor returns: named arrays or tensors."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor

from transept.errors import InputError, did_you_mean

__all__ = ["BatchFeature"]


class BatchFeature(UserDict[str, Any]):
    """A mapping of `input_features`, `pixel_values`, … to arrays, lists or tensors with the batch first.

    A value is also an attribute. `model(**features)` works.

    Args:
        tensor_type: "pt", "np", or None to leave the values as they are.

    Raises:
        InputError: rows of different sizes cannot be one tensor.
    """

    def __init__(self, data: Mapping[str, Any] | None = None, tensor_type: str | None = None) -> None:
        super().__init__(data)
        self.convert_to_tensors(tensor_type)

    def __getattr__(self, name: str) -> Any:
        data = self.__dict__.get("data", {})
        if name in data:
            return data[name]
        raise AttributeError(f"`BatchFeature` has no `{name}`.{did_you_mean(name, data)}")

    def __getstate__(self) -> dict[str, Any]:
        return {"data": self.data}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.data = state["data"]

    def convert_to_tensors(self, tensor_type: str | None = None) -> Self:
        """Make every value a tensor ("pt") or array ("np"), in place."""
        if tensor_type is None:
            return self
        name = str(getattr(tensor_type, "value", tensor_type))
        if name not in ("pt", "np"):
            raise InputError(f"`return_tensors={name!r}` is neither 'pt' nor 'np'.")
        for key, value in self.data.items():
            try:
                self.data[key] = _as_tensor(value) if name == "pt" else _as_array(value)
            except (ValueError, TypeError, RuntimeError) as error:
                raise InputError(
                    f"`{key}` cannot be one tensor, as its rows differ in size or kind: pad them, or leave `return_tensors` out. ({error})"
                ) from error
        return self

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move tensors to a device; those of floats also to a dtype. Arguments are those of `torch.Tensor.to`; in place."""
        for key, value in self.data.items():
            if isinstance(value, Tensor):
                whole = value.is_floating_point()
                self.data[key] = value.to(*args, **kwargs) if whole else value.to(*_devices(args), **_devices_of(kwargs))
        return self


def _devices(args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(arg for arg in args if not isinstance(arg, torch.dtype))


def _devices_of(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if name != "dtype"}


def _as_tensor(value: Any) -> Tensor:
    if isinstance(value, (list, tuple)) and value and hasattr(value[0], "shape"):
        return torch.stack([torch.as_tensor(one) for one in value])
    return torch.as_tensor(value)


def _as_array(value: Any) -> Any:
    return _as_tensor(value).numpy(force=True)
