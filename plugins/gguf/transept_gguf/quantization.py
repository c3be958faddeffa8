"""The quantizer `gguf`: modules on blocks, from a file that has them or from floats that are packed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from transept.errors import QuantizationError, did_you_mean
from transept.nn import ScaledEmbedding
from transept.quantization import QuantizationConfig, Quantizer

from .blocks import dequantize, kind_of, packed_types
from .packed import GGUFEmbedding, GGUFLinear
from .packing import pack

__all__ = ["GgufConfig", "GgufQuantizer", "compact", "gguf_quantizer"]


def _known(name: str) -> str:
    types = packed_types()
    if name.upper() not in types:
        raise ValueError(
            f"`{name}` is no type of blocks that is read here.{did_you_mean(name.upper(), types)} Types: {', '.join(types)}"
        )
    return name.upper()


_TypeName = Annotated[str, AfterValidator(_known)]


class GgufConfig(QuantizationConfig):
    """Weights in GGUF's blocks: linear layers, and the token embedding with what is tied to it.

    A model read from a GGUF file says here what the file has. `GgufConfig(type="Q8_0")` packs floats.
    """

    quant_method: Literal["gguf"] = "gguf"
    type: _TypeName | None = None
    """Block type, by ggml's name, of every module that `types` leaves out; None: those stay floats."""
    types: dict[str, _TypeName | None] = Field(default_factory=dict)
    """Path of a module, or pattern of paths, to its block type, None for floats. A path goes before patterns, a longer pattern before
    a shorter one: config.json keeps no order."""


class GgufQuantizer(Quantizer):
    """Puts blocks in place of the weights of linear layers and embeddings.

    Without patterns it takes every `torch.nn.Linear`, and the token embedding; modules that are tied are taken together or not
    at all.
    """

    key = "gguf"
    why = "weights stay in GGUF's blocks"
    config: GgufConfig

    def __init__(self, config: GgufConfig) -> None:
        super().__init__(config)
        self._prefix = ""
        self._types = sorted(config.types.items(), key=lambda item: ("*" in item[0], -len(item[0])))
        self._left: set[str] = set()
        self._stored: frozenset[str] = frozenset()

    def look_at(self, tensors: Mapping[str, Any]) -> None:
        named = (name for name, ref in tensors.items() if ref.dtype == torch.uint8 and name.endswith(".weight"))
        self._stored = frozenset(name.removesuffix(".weight") for name in named)

    def prepare(self, model: Any) -> None:
        self._prefix = getattr(model, "base_model_prefix", "")
        modules: dict[str, nn.Module] = dict(model.named_modules(remove_duplicate=False))
        groups = _tied_modules(model)
        group_of = {path: group for group in groups for path in group}
        tokens = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None
        token_paths = {path for path, module in modules.items() if module is tokens}
        token_paths |= {path for group in groups if group & token_paths for path in group}
        stored = self._stored & modules.keys()  # a checkpoint of packed modules says itself which they are
        places = Counter(id(module) for module in modules.values())
        self._left = {
            path
            for path, module in modules.items()
            if places[id(module)] > 1
            or (stored and not group_of.get(path, {path}) & stored)
            or (not isinstance(module, nn.Linear) and path not in token_paths and self._listed(path) is _NOT_LISTED)
        }
        for group in groups:
            kinds = {self.type_of(one) if self.fits(modules.get(one)) and self.takes(one) else None for one in group}
            if None in kinds or len(kinds) > 1:
                self._left |= group

    @staticmethod
    def fits(module: nn.Module | None) -> bool:
        """Whether this kind of module can be packed."""
        return type(module) in (nn.Linear, nn.Embedding, ScaledEmbedding) and getattr(module, "max_norm", None) is None

    def takes(self, path: str) -> bool:
        return super().takes(path) and path not in self._left and self.type_of(path) is not None

    def type_of(self, path: str) -> str | None:
        """The block type that the settings name for a module; None: it stays as it is."""
        listed = self._listed(path)
        return self.config.type if listed is _NOT_LISTED else listed

    def _listed(self, path: str) -> Any:
        dot = f"{self._prefix}."
        # a base model and the models around it say the same module with and without the prefix
        spellings = (path, path.removeprefix(dot), dot + path) if self._prefix else (path,)
        for pattern, kind in self._types:
            if any(fnmatchcase(one, pattern) for one in spellings):
                return kind
        return _NOT_LISTED

    def build(self, module: nn.Module, path: str) -> nn.Module:
        name = self.type_of(path)
        assert name is not None
        kind = kind_of(name)
        columns = int(module.in_features if isinstance(module, nn.Linear) else module.embedding_dim)  # type: ignore[arg-type]
        if not columns or columns % kind.block_size:
            raise QuantizationError(
                f"`{path}` has rows of {columns} weights, which blocks of {kind.name} ({kind.block_size} weights) do not divide: "
                "choose a type with smaller blocks, or name it in `modules_to_not_convert`.",
                path=path,
            )
        if isinstance(module, nn.Linear):
            return GGUFLinear(kind, columns, module.out_features, module.bias)
        assert isinstance(module, nn.Embedding)
        return GGUFEmbedding(kind, module.num_embeddings, columns, module.padding_idx, getattr(module, "scale", None))

    def convert(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        weight = tensors["weight"]
        if weight.dtype == torch.uint8 and weight.shape == built.weight.shape:
            return {"weight": weight}  # a file's own blocks
        if not weight.is_floating_point():
            raise QuantizationError(
                f"A weight of {built.packing} blocks cannot be made of {weight.dtype} in shape {tuple(weight.shape)}: the "
                "checkpoint holds something else than its configuration says."
            )
        built.compute_dtype = weight.dtype
        return {"weight": pack(weight, kind_of(built.packing))}

    def revert(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        columns = built.in_features if isinstance(built, GGUFLinear) else built.embedding_dim
        blocks, dtype = tensors["weight"], built.compute_dtype or torch.float32
        return {"weight": dequantize(blocks.contiguous(), kind_of(built.packing), (len(blocks), columns), dtype)}


_NOT_LISTED = object()


def gguf_quantizer(config: GgufConfig, model_config: Any) -> GgufQuantizer:
    """The quantizer with these settings.

    Raises:
        QuantizationError: they name no type.
    """
    if config.type is None and not config.types:
        raise QuantizationError(
            '`GgufConfig` names no type of blocks: say which, as in `GgufConfig(type="Q8_0")`. The blocks of a GGUF file are kept '
            "where neither `quantization_config` nor a `dtype` is given."
        )
    return GgufQuantizer(config)


def _tied_modules(model: Any) -> list[set[str]]:
    """Modules whose weights are one parameter, by path."""
    by_source: dict[str, set[str]] = {}
    for target, source in getattr(model, "tied_weights", {}).items():
        if target.endswith(".weight") and source.endswith(".weight"):
            group = by_source.setdefault(source, {source.rpartition(".")[0]})
            group.add(target.rpartition(".")[0])
    return list(by_source.values())


def compact(kinds: Mapping[str, str | None]) -> dict[str, str | None]:
    """A short table of patterns that says for each of these modules what the long one says, and names no others."""
    groups: dict[str, dict[str, str | None]] = {}
    for path, kind in kinds.items():
        groups.setdefault(_layerless(path), {})[path] = kind
    exact: dict[str, str | None] = {}
    common: dict[str, str | None] = {}
    for pattern, members in groups.items():
        most = _commonest(members.values())
        if len(members) > 1 or pattern in members:
            common[pattern] = most
            exact.update((path, kind) for path, kind in members.items() if kind != most)
        else:
            exact.update(members)
    return {**exact, **{pattern: kind for pattern, kind in common.items() if kind is not None}}


def _layerless(path: str) -> str:
    return ".".join("*" if part.isdigit() else part for part in path.split("."))


def _commonest(kinds: Iterable[str | None]) -> str | None:
    found = list(kinds)
    return max(dict.fromkeys(found), key=found.count)
