"""Rewrites small enough to check by hand, and a model for them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from transept.rewrite import Rewrite


class Pair(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.a = nn.Linear(size, size)
        self.b = nn.Linear(size, 2 * size)
        self.out = nn.Linear(3 * size, size)

    def forward(self, x):
        return self.out(torch.cat([self.a(x), self.b(x)], -1))


class Joined(nn.Module):
    def __init__(self, pair: Pair) -> None:
        super().__init__()
        size = pair.a.in_features
        self.ab = nn.Linear(size, 3 * size, dtype=pair.a.weight.dtype)
        self.out = pair.out

    def forward(self, x):
        return self.out(self.ab(x))


class Join(Rewrite):
    """A parent's two linears become one."""

    key, why, order, undoable = "join", "one product", 10, True

    def select(self, path: str, module: nn.Module) -> bool:
        return type(module) is Pair

    def build(self, module: Any, path: str) -> nn.Module:
        return Joined(module)

    def convert(self, tensors: dict[str, Tensor], built: nn.Module) -> dict[str, Tensor]:
        return {f"ab.{k}": torch.cat([tensors[f"a.{k}"], tensors[f"b.{k}"]]) for k in ("weight", "bias")}

    def revert(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        size = built.ab.in_features
        parts = {k: tensors[f"ab.{k}"].split([size, 2 * size]) for k in ("weight", "bias")}
        return {f"{n}.{k}": part for k in parts for n, part in zip("ab", parts[k], strict=True)}


class Int8(nn.Module):
    """A linear or embedding with its weight in bytes; the tensor keeps its name and changes its dtype."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.embeds = isinstance(module, nn.Embedding)
        self.weight = nn.Parameter(torch.empty(module.weight.shape, dtype=torch.int8), requires_grad=False)
        self.scale = nn.Parameter(torch.empty(module.weight.shape[0], dtype=torch.float32), requires_grad=False)
        self.bias = getattr(module, "bias", None)
        self.register_buffer("table", torch.empty(2), persistent=False)

    def reset_buffers(self, device: torch.device) -> None:
        self.table = torch.tensor([1.0, 2.0], device=device)

    def forward(self, x):
        weight = self.weight * self.scale[:, None]
        return weight[x] if self.embeds else nn.functional.linear(x, weight, self.bias)


class Quantize(Rewrite):
    key, why, order = "int8", "a quarter of the memory", 90

    def __init__(self, ties: str = "break", kinds: tuple[type, ...] = (nn.Linear,)) -> None:
        self.ties = ties  # type: ignore[misc, assignment]
        self.kinds = kinds

    def select(self, path: str, module: nn.Module) -> bool:
        return type(module) in self.kinds

    def build(self, module: nn.Module, path: str) -> nn.Module:
        return Int8(module)

    def convert(self, tensors: dict[str, Tensor], built: nn.Module) -> dict[str, Tensor]:
        weight = tensors["weight"].float()
        scale = weight.abs().amax(1) / 127
        return {"weight": (weight / scale[:, None]).round().to(torch.int8), "scale": scale}


class Model(nn.Module):
    base_model_prefix = ""

    def __init__(self, tied: bool = False) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.layers = nn.ModuleList(Pair(4) for _ in range(2))
        self.head = nn.Linear(4, 10, bias=False)
        self.tied_weights = {"head.weight": "embed.weight"} if tied else {}
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, ids):
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


@pytest.fixture
def kit() -> Any:
    """The classes above, as attributes."""
    from types import SimpleNamespace

    torch.manual_seed(0)
    return SimpleNamespace(Model=Model, Join=Join, Quantize=Quantize, Int8=Int8, Joined=Joined, Pair=Pair)


@pytest.fixture
def ids() -> Tensor:
    return torch.arange(8).view(2, 4)
