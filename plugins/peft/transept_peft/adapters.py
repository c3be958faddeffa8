"""A model's adapters, as `model.add_adapter(...)` and its siblings find them: each step is peft's own function."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft import PeftConfig, load_peft_weights
from peft.functional import (
    delete_adapter,
    get_peft_model_state_dict,
    inject_adapter_in_model,
    set_adapter,
    set_peft_model_state_dict,
    set_requires_grad,
)
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper
from peft.utils.constants import EMBEDDING_LAYER_NAMES
from safetensors.torch import save
from torch import Tensor

from transept.errors import (
    CheckpointNotFoundError,
    InputError,
    MissingTensorsError,
    SaveError,
    ShapeMismatchError,
    UnexpectedTensorsError,
    did_you_mean,
    shorten,
)
from transept.files import Location, atomic_write_bytes, open_location

from .prepare import prepare, understand_packed

__all__ = ["Adapters"]

_PREFIX = "base_model.model."
"""What peft puts before each name in its files."""
_LAYERS = (BaseTunerLayer, ModulesToSaveWrapper)


class Adapters:
    """The adapters of one model. `model.peft_config` names them, as peft's functions expect."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._trainable: set[str] = set()

    @property
    def configs(self) -> dict[str, PeftConfig]:
        return getattr(self.model, "peft_config", {})

    # -- coming ------------------------------------------------------------------------------------------------------------

    def add(self, config: Any, name: str) -> None:
        """A fresh adapter, trainable and active."""
        if not isinstance(config, PeftConfig):
            raise InputError(
                f"`add_adapter` takes a configuration of peft's, such as `LoraConfig`; this is a `{type(config).__name__}`."
            )
        self._inject(config, name)

    def load(self, place: str | os.PathLike[str] | Location, name: str, *, is_trainable: bool = False, **options: Any) -> None:
        """An adapter from a folder or the hub; frozen unless `is_trainable`. Options say where to look (`revision`, `token`, …).

        Raises:
            CheckpointNotFoundError: there is no adapter; MissingTensorsError, UnexpectedTensorsError: it is for another model.
        """
        location = place if isinstance(place, Location) else open_location(place, **options)
        folder = _folder(location)
        config = PeftConfig.from_pretrained(str(folder))
        config.inference_mode = not is_trainable
        self._inject(config, name)
        try:
            stored = load_peft_weights(str(folder), device=str(self.model.device))
            weights = {key.removeprefix(_PREFIX): tensor for key, tensor in stored.items()}
            try:
                result = set_peft_model_state_dict(self.model, weights, adapter_name=name)
            except RuntimeError as error:  # `load_state_dict` on tensors of another shape
                raise ShapeMismatchError(f"The adapter `{location.name}` was made for another model: {error}") from error
            missing = [key for key in result.missing_keys if f".{name}" in key and _of_adapter(key, config)]
            if result.unexpected_keys:
                raise UnexpectedTensorsError(
                    f"The adapter `{location.name}` has tensors that `{type(self.model).__name__}` has no place for: "
                    f"{shorten(result.unexpected_keys)}. It was made for another model.",
                    names=list(result.unexpected_keys),
                )
            if missing:
                raise MissingTensorsError(
                    f"The adapter `{location.name}` lacks {shorten(missing)}: it is incomplete, or was made for another model.",
                    names=missing,
                )
        except BaseException:
            self.delete(name)
            raise

    def _inject(self, config: PeftConfig, name: str) -> None:
        if name in self.configs:
            raise InputError(f"There is an adapter `{name}` already: delete it, or give another name.")
        if config.is_prompt_learning or config.is_adaption_prompt:
            raise InputError(
                f"{config.peft_type.value} adds tokens and no layers: wrap the model with `transept_peft.get_peft_model` for it."
            )
        if not self.configs:
            self._trainable = {path for path, parameter in self.model.named_parameters() if parameter.requires_grad}
        prepare(self.model)
        config.base_model_name_or_path = config.base_model_name_or_path or self.model.name_or_path
        try:
            inject_adapter_in_model(understand_packed(config), self.model, name)
        except ValueError as error:
            if not self.configs:
                self._leave()
            raise InputError(f"The adapter does not fit `{type(self.model).__name__}`: {error}") from error
        if name not in self.configs:
            self.model.peft_config = {**self.configs, name: config}
        self.model._adapters = self
        self.set(name)
        if config.inference_mode:
            set_requires_grad(self.model, name, requires_grad=False)

    # -- choosing ----------------------------------------------------------------------------------------------------------

    def set(self, names: str | Sequence[str]) -> None:
        """Which are in force; enabling them."""
        wanted = [names] if isinstance(names, str) else list(names)
        self._known(wanted)
        frozen = {name: self.configs[name].inference_mode for name in wanted}
        self.enable()
        set_adapter(self.model, wanted)
        for name, is_frozen in frozen.items():
            if is_frozen:
                set_requires_grad(self.model, name, requires_grad=False)

    def enable(self) -> None:
        self._switch(True)

    def disable(self) -> None:
        self._switch(False)

    def _switch(self, enabled: bool) -> None:
        self._known([])
        for layer in self._layers():
            layer.enable_adapters(enabled=enabled)

    def active(self) -> list[str]:
        self._known([])
        first = next(self._layers())
        active = first.active_adapters if isinstance(first, BaseTunerLayer) else first.active_adapter
        return [active] if isinstance(active, str) else list(active)

    # -- leaving -----------------------------------------------------------------------------------------------------------

    def delete(self, names: str | Sequence[str]) -> None:
        gone = [names] if isinstance(names, str) else list(names)
        self._known(gone)
        for name in gone:
            delete_adapter(self.model, name, prefix=f"{self.configs[name].peft_type.value.lower()}_")
            self.model.peft_config.pop(name)
        if not self.configs:
            self._unwrap()

    def merge(self, names: Sequence[str] | None) -> None:
        """Into the weights; the layers leave.

        Raises: QuantizationError: a weight is packed.
        """
        self._known(list(names or ()))
        layers = [layer for layer in self._layers() if isinstance(layer, BaseTunerLayer)]
        done: list[Any] = []
        try:
            for layer in layers:
                layer.merge(safe_merge=True, adapter_names=list(names) if names is not None else None)
                done.append(layer)
        except BaseException:
            for layer in done:
                layer.unmerge()
            raise
        self._unwrap()

    def _unwrap(self) -> None:
        """Every wrapped module becomes its own again; of a copied one (`modules_to_save`) the active copy stays."""
        for path, module in list(self.model.named_modules()):
            if isinstance(module, BaseTunerLayer):
                self.model.set_submodule(path, module.get_base_layer(), strict=True)
            elif isinstance(module, ModulesToSaveWrapper):
                active = module.active_adapters[0] if module.active_adapters else None
                kept = module.modules_to_save[active] if active is not None else module.original_module
                self.model.set_submodule(path, kept, strict=True)
        self._leave()

    def _leave(self) -> None:
        if hasattr(self.model, "peft_config"):
            del self.model.peft_config
        self.model._adapters = None
        for name, parameter in self.model.named_parameters():
            if parameter.is_floating_point():
                parameter.requires_grad_(name in self._trainable)

    # -- files -------------------------------------------------------------------------------------------------------------

    def state_dict(self, name: str | None) -> dict[str, Tensor]:
        chosen = name if name is not None else self.active()[0]
        self._known([chosen])
        found: dict[str, Tensor] = get_peft_model_state_dict(
            self.model, adapter_name=chosen, save_embedding_layers=self._saves_embeddings(self.configs[chosen])
        )
        return found

    def _saves_embeddings(self, config: PeftConfig) -> bool | str:
        """Embeddings go along where the adapter is for them; peft asks the hub whether the vocabulary grew, for names that the hub knows."""
        base = config.base_model_name_or_path or ""
        if ":" not in base and base:
            return "auto"
        targets = getattr(config, "target_modules", None) or ()
        return any(name in EMBEDDING_LAYER_NAMES for name in targets) if not isinstance(targets, str) else False

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Each active adapter: the first one in the folder itself, further ones in a folder of their name, as peft lays them out."""
        for index, name in enumerate(self.active()):
            target = Path(folder) if index == 0 else Path(folder) / name
            tensors = {_PREFIX + key: tensor.detach().cpu().contiguous() for key, tensor in self.state_dict(name).items()}
            try:
                target.mkdir(parents=True, exist_ok=True)
                atomic_write_bytes(target / "adapter_model.safetensors", save(tensors, {"format": "pt"}))
                with _saved_as_inference(self.configs[name]):
                    self.configs[name].save_pretrained(str(target))
            except OSError as error:
                raise SaveError(f"The adapter `{name}` could not be saved in `{target}`: {error}.") from error

    # -- what the others ask -----------------------------------------------------------------------------------------------

    def _layers(self) -> Iterator[Any]:
        return (module for module in self.model.modules() if isinstance(module, _LAYERS))

    def _known(self, names: Sequence[str]) -> None:
        if not self.configs:
            raise InputError("The model has no adapter: `add_adapter` or `load_adapter` first.")
        for name in names:
            if name not in self.configs:
                raise InputError(
                    f"There is no adapter `{name}`; there are: {shorten(self.configs)}.{did_you_mean(name, self.configs)}"
                )


def _of_adapter(key: str, config: PeftConfig) -> bool:
    return f"{config.peft_type.value.lower()}_" in key


def _folder(location: Location) -> Path:
    file = location.fetch("adapter_config.json")
    weights = location.fetch("adapter_model.safetensors")
    if file is None or weights is None:
        lacks = "adapter_config.json" if file is None else "adapter_model.safetensors"
        raise CheckpointNotFoundError(f"`{location.name}` holds no adapter: it has no `{lacks}`.")
    return file.parent


@contextmanager
def _saved_as_inference(config: PeftConfig) -> Iterator[None]:
    before, config.inference_mode = config.inference_mode, True
    try:
        yield
    finally:
        config.inference_mode = before
