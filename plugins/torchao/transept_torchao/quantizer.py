"""The quantizer: torchao packs each weight, and its own flattening brings them to files and back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transept.errors import QuantizationError
from transept.quantization import Quantizer
from transept.rewrite import applied_to

from .configuration import TorchAoConfig
from .library import library

__all__ = ["TorchAo", "TorchAoEmbedding", "TorchAoLinear", "torchao"]


class TorchAoLinear(nn.Linear):
    """A linear layer whose weight is one of torchao's tensors."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's own name)
        """(…, in_features) to (…, out_features)."""
        if torch.is_grad_enabled() and input.requires_grad:
            product = _Product.apply(input, self.weight)
            return product if self.bias is None else product + self.bias.to(product.dtype)
        return F.linear(input, self.weight, self.bias)


class _Product(torch.autograd.Function):
    """input @ weight.T with the gradient of the dequantized weight: of torchao's own products some have none."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor) -> Tensor:  # noqa: A002
        ctx.weight = weight
        return F.linear(input, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,) = grads
        return grad @ ctx.weight.dequantize().to(grad.dtype), None


class TorchAoEmbedding(nn.Embedding):
    """An embedding whose weight is one of torchao's tensors."""


class TorchAo(Quantizer):
    """Weights of linear layers, and of the embedding where the settings say so, become torchao's tensors."""

    key = "torchao"
    why = "weights packed by torchao"
    marker = "_weight_qdata"
    config: TorchAoConfig

    def prepare(self, model: nn.Module) -> None:
        """Say in the settings which linear layers stay, as others that read the checkpoint have rules of their own."""
        super().prepare(model)
        embeds = self.config.include_input_output_embeddings and hasattr(model, "get_input_embeddings")
        ends: Any = (model.get_input_embeddings(), model.get_output_embeddings()) if embeds else ()  # type: ignore[operator]
        self._ends = frozenset(path for path, one in model.named_modules(remove_duplicate=False) if any(one is e for e in ends))
        self._kept = tuple(path for path in self._kept if path not in self._ends)
        self._floats = tuple(getattr(model, "_keep_in_fp32_modules", None) or ())
        if self.only is None:
            fitting = [path for path, one in model.named_modules(remove_duplicate=False) if type(one) is nn.Linear]
            left = [path for path in fitting if path in self.leaves or not self.select(path, model.get_submodule(path))]
            self.config.modules_to_not_convert = list(dict.fromkeys([*(self.config.modules_to_not_convert or ()), *left]))

    def fits(self, module: nn.Module) -> bool:
        return type(module) is nn.Linear or (self.config.include_input_output_embeddings and type(module) is nn.Embedding)

    def select(self, path: str, module: nn.Module) -> bool:
        return super().select(path, module) and (type(module) is nn.Linear or path in self._ends)

    def takes(self, path: str) -> bool:
        """Not what its family keeps in float32 whatever the model around is in, nor what a table of torchao's leaves out."""
        floats = any(f".{part}." in f".{path}." for part in self._floats)
        return super().takes(path) and not floats and self._kind(path) is not None

    def _kind(self, path: str) -> Any:
        """torchao's settings for this layer: one of a table by names and `re:` patterns, or the same for all."""
        kind, table = self.config.quant_type, getattr(library().quantization, "FqnToConfig", None)
        if table is None or not isinstance(kind, table):
            return kind
        by_name: dict[str, Any] = kind.fqn_to_config
        for wanted in (f"{path}.weight", path):
            if wanted in by_name:
                return by_name[wanted]
        for pattern, one in by_name.items():
            if pattern.startswith("re:") and any(re.fullmatch(pattern[3:], name) for name in (f"{path}.weight", path)):
                return one
        return by_name.get("_default")

    def sources(self, module: nn.Module, built: nn.Module) -> tuple[str, ...]:
        return ("weight",)

    def build(self, module: nn.Module, path: str) -> nn.Module:
        built: Any
        if isinstance(module, nn.Embedding):
            built = TorchAoEmbedding(module.num_embeddings, module.embedding_dim, module.padding_idx)
        else:
            assert isinstance(module, nn.Linear)
            built = TorchAoLinear(module.in_features, module.out_features, module.bias is not None)
        built.weight = nn.Parameter(torch.empty_like(module.weight, device="meta"), requires_grad=False)
        built.path = path
        return built

    def convert(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        weight, kind, path = tensors["weight"], self._kind(built.path), built.path
        holder: Any
        with torch.device("meta"):
            embeds = isinstance(built, nn.Embedding)
            holder = nn.Embedding(*weight.shape) if embeds else nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        holder.weight = nn.Parameter(weight, requires_grad=False)
        try:
            library().quantization.quantize_(holder, kind, filter_fn=lambda module, fqn: True)
        except (AssertionError, ImportError, NotImplementedError, RuntimeError, ValueError, TypeError) as error:
            raise QuantizationError(
                f"torchao cannot pack `{path}`, {tuple(weight.shape)} in {weight.dtype} on `{weight.device.type}`, by "
                f"`{type(kind).__name__}`: {error}. Name it in `modules_to_not_convert`, or choose another `quant_type`"
                f"{_INSTEAD.get(type(kind).__name__, '')}.",
                path=path,
            ) from error
        made = holder.weight
        if type(made.data) is Tensor:
            raise QuantizationError(
                f"torchao leaves `{path}`, {tuple(weight.shape)}, as it is: `{type(kind).__name__}` does not fit its shape. Name it in "
                "`modules_to_not_convert`, or choose another group size.",
                path=path,
            )
        return {"weight": made if isinstance(made, nn.Parameter) else nn.Parameter(made, requires_grad=False)}

    def revert(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        return {"weight": built.weight.dequantize()}

    # -- files -------------------------------------------------------------------------------------------------------------

    def stored(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        data, _ = _support().flatten_tensor_state_dict({"at.weight": built.weight})
        return {name.removeprefix("at."): part for name, part in data.items()}

    def metadata(self, model: nn.Module) -> dict[str, str]:
        """What the files' headers say of each tensor: its class and its settings."""
        found: dict[str, str] = {}
        for name in (f"{one.path}.weight" for one in applied_to(model) if one.rewrite is self):
            # one at a time: flattening copies
            found[name] = _support().flatten_tensor_state_dict({name: model.get_parameter(name)})[1][name]
        return {**found, "tensor_names": json.dumps(list(found))}

    def stored_names(self, tensors: Mapping[str, Any], slots: Mapping[str, Tensor]) -> tuple[str, ...]:
        return tuple(name for name in tensors if name.startswith("_weight_")) if self.marker in tensors else ()

    def restore(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        path = built.path
        said = self._said(path)
        if said is None:
            raise QuantizationError(
                f"The headers of the files do not say what `{path}` was packed as: save the model again.", path=path
            )
        try:
            found, left = _support().unflatten_tensor_state_dict(
                {f"at.{name}": part for name, part in tensors.items()}, {"at.weight": said, "tensor_names": '["at.weight"]'}
            )
            made = found["at.weight"]
        except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
            raise _damaged(path) from error
        if left or made.shape != built.weight.shape:
            raise _damaged(path)
        return {"weight": nn.Parameter(made, requires_grad=False)}

    def _said(self, path: str) -> str | None:
        """The header's entry for a layer, which a sibling of the model may have saved with or without a prefix."""
        held = self.stored_metadata
        name = f"{path}.weight"
        if name in held:
            return held[name]
        return next((value for key, value in held.items() if key.endswith(f".{name}") or name.endswith(f".{key}")), None)


_INSTEAD = {"Int4WeightOnlyConfig": ": on a CPU `intx_weight_only` has 4 bits in groups"}


def _support() -> Any:
    library()
    from torchao.prototype.safetensors import safetensors_support

    return safetensors_support


def _damaged(path: str) -> QuantizationError:
    return QuantizationError(
        f"`{path}`: what the checkpoint holds of it is no packed weight of torchao's. Download or save it again.", path=path
    )


def torchao(config: TorchAoConfig, model_config: Any) -> TorchAo:
    """The quantizer with these settings."""
    return TorchAo(config)
