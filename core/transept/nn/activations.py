"""Activation functions, by the names that configurations give them."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ConfigError, did_you_mean

__all__ = ["ACT2FN", "Activation", "activation"]

Activation = Callable[[Tensor], Tensor]


def gelu_new(x: Tensor) -> Tensor:
    """The tanh approximation of GELU (https://arxiv.org/abs/1606.08415) in the operations of the original GPT-2."""
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


def gelu_fast(x: Tensor) -> Tensor:
    """The tanh approximation of GELU with its constant cut to ten digits."""
    return 0.5 * x * (1.0 + torch.tanh(x * 0.7978845608 * (1.0 + 0.044715 * x * x)))


def quick_gelu(x: Tensor) -> Tensor:
    """The sigmoid approximation of GELU."""
    return x * torch.sigmoid(1.702 * x)


def gelu_clipped(x: Tensor) -> Tensor:
    """GELU within [-10, 10], for quantized ranges (https://arxiv.org/abs/2004.09602)."""
    return F.gelu(x).clamp(-10.0, 10.0)


def relu_squared(x: Tensor) -> Tensor:
    """The square of ReLU (https://arxiv.org/abs/2109.08668)."""
    return F.relu(x).square()


def laplace(x: Tensor) -> Tensor:
    """The Gaussian's distribution function, in place of a softmax (https://arxiv.org/abs/2209.10655)."""
    return 0.5 * (1.0 + torch.erf((x - 0.707107) / (0.282095 * math.sqrt(2.0))))


def sqrt_softplus(x: Tensor) -> Tensor:
    """The square root of softplus, which routers score experts with."""
    return F.softplus(x).sqrt()


def linear(x: Tensor) -> Tensor:
    """The identity."""
    return x


class _Activations(dict[str, Activation]):
    def __missing__(self, name: str) -> Activation:
        raise ConfigError(
            f"No activation function is called `{name}`.{did_you_mean(name, self)} Known are {', '.join(sorted(self))}."
        )


ACT2FN = _Activations(
    {
        "gelu": F.gelu,
        "gelu_10": gelu_clipped,
        "gelu_accurate": gelu_new,
        "gelu_fast": gelu_fast,
        "gelu_new": gelu_new,
        "gelu_python": F.gelu,
        "gelu_python_tanh": gelu_new,
        "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
        "hardswish": F.hardswish,
        "laplace": laplace,
        "leaky_relu": F.leaky_relu,
        "linear": linear,
        "mish": F.mish,
        "quick_gelu": quick_gelu,
        "relu": F.relu,
        "relu2": relu_squared,
        "relu6": F.relu6,
        "sigmoid": torch.sigmoid,
        "silu": F.silu,
        "sqrtsoftplus": sqrt_softplus,
        "swish": F.silu,
        "tanh": torch.tanh,
    }
)
"""Name to function; an unknown name is a `ConfigError` with near misses."""


def activation(name: str) -> Activation:
    """The function that a configuration calls `name`.

    Raises:
        ConfigError: no function has that name.
    """
    return ACT2FN[name]
