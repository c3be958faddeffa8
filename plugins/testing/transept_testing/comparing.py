"""When two outputs are equal, and where they are not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = [
    "assert_gradients_equal",
    "assert_outputs_equal",
    "assert_to_scale",
    "checksum",
    "gradients",
    "of_tokens",
    "tensors_of",
]


def tensors_of(output: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor of an output with its name: `logits`, `hidden_states[2]`; caches are left out."""
    if isinstance(output, Tensor):
        yield name, output
    elif isinstance(output, Mapping):
        for key, value in output.items():
            yield from tensors_of(value, f"{name}.{key}" if name else str(key))
    elif isinstance(output, tuple | list):
        for index, value in enumerate(output):
            yield from tensors_of(value, f"{name}[{index}]")


def assert_to_scale(found: Tensor, expected: Tensor, tolerance: float, what: str, floor: float = 1e-3) -> None:
    """The largest difference is within `tolerance` of the largest expected value (or of `floor`)."""
    assert found.shape == expected.shape, f"{what}: shape {tuple(found.shape)} in place of {tuple(expected.shape)}"
    if not expected.numel():
        return
    if not expected.is_floating_point():
        assert torch.equal(found, expected), f"{what}: {found.tolist()} in place of {expected.tolist()}"
        return
    found, expected = found.detach().double(), expected.detach().double()
    assert torch.isfinite(found).all(), f"{what}: holds NaN or infinity"
    difference = float((found - expected).abs().max())
    scale = max(float(expected.abs().max()), floor)
    assert difference <= tolerance * scale, f"{what}: differs by {difference:.3g}, where the largest value is {scale:.3g}"


def assert_outputs_equal(found: Any, expected: Any, tolerance: float, what: str) -> None:
    """The same tensors under the same names, each equal to scale."""
    ours, theirs = dict(tensors_of(found)), dict(tensors_of(expected))
    assert list(ours) == list(theirs), f"{what}: has {list(ours)}, where {list(theirs)} are expected"
    for name, tensor in theirs.items():
        assert_to_scale(ours[name], tensor, tolerance, f"{what}, `{name}`")


def of_tokens(row: Tensor, width: int, place: slice) -> Tensor:
    """The part of a row's output that is about its tokens: each dimension that is `width` long is cut to `place`."""
    for dim, size in enumerate(row.shape):
        if size == width:
            row = row.narrow(dim, place.start, place.stop - place.start)
    return row


def gradients(model: nn.Module, inputs: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss, and the gradient of each parameter that it reaches."""
    model.zero_grad(set_to_none=True)
    loss = model(**inputs).loss
    loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return loss.detach(), found


def assert_gradients_equal(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float, what: str) -> None:
    """The same parameters are reached, by equal gradients; those that cancel out are held to the scale of all."""
    assert sorted(found) == sorted(expected), (
        f"{what}: gradients reach {sorted(set(found) ^ set(expected))} in one of the two alone"
    )
    floor = 1e-2 * max((float(gradient.abs().max()) for gradient in expected.values()), default=0.0)
    for name, gradient in expected.items():
        assert_to_scale(found[name], gradient, tolerance, f"{what}, gradient of `{name}`", floor)


def checksum(output: Any) -> float:
    """One number for all floating tensors of an output: their values weighed by place, so that no two can change seats."""
    total = 0.0
    for index, (_, tensor) in enumerate(tensors_of(output)):
        if tensor.is_floating_point():
            flat = tensor.detach().double().flatten()
            places = torch.arange(flat.numel(), dtype=torch.float64)
            total += float((flat * torch.cos(places + index)).sum() / max(flat.numel(), 1) ** 0.5)
    return round(total, 6)
