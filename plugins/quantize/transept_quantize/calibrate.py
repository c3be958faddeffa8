"""Quantizing with data: one layer after another, each on what the quantized layers before it really give.

Hidden states go through a stack of layers once to be measured and once to be passed on, so the cost is two forward passes of
the model over the data, whatever its depth. Each layer's result is written as soon as it is there; a run that is stopped
takes up where it was.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from transept.errors import QuantizationError
from transept.quantization import Quantizer
from transept.rewrite import apply_live

__all__ = ["Calibrated", "calibrate"]

Progress = Callable[[int, int, str], None]


class Calibrated(Quantizer):
    """A quantizer whose built modules take tensors that were found with data; everything else is the quantizer's own."""

    def __init__(self, inner: Quantizer, found: dict[str, dict[str, Tensor]]) -> None:
        super().__init__(inner.config)
        self.key, self.why, self.order = inner.key, inner.why, inner.order  # type: ignore[misc]
        self.undoable, self.ties = inner.undoable, inner.ties  # type: ignore[misc]
        self.inner, self.results = inner, found
        self._paths: list[tuple[nn.Module, str]] = []

    def select(self, path: str, module: nn.Module) -> bool:
        return path in self.results

    def build(self, module: nn.Module, path: str) -> nn.Module:
        built = self.inner.build(module, path)
        self._paths.append((built, path))
        return built

    def sources(self, module: nn.Module, built: nn.Module) -> tuple[str, ...]:
        return self.inner.sources(module, built)

    def convert(self, tensors: dict[str, Tensor], built: nn.Module) -> dict[str, Tensor]:
        index = next(index for index, (module, _) in enumerate(self._paths) if module is built)
        return self.results.pop(self._paths.pop(index)[1])

    def revert(self, tensors: dict[str, Tensor], built: nn.Module) -> dict[str, Tensor]:
        return self.inner.revert(tensors, built)

    def stored(self, tensors: dict[str, Tensor], built: nn.Module) -> dict[str, Tensor]:
        return self.inner.stored(tensors, built)


class _Reached(Exception):
    """The stack has what it needs of a forward pass."""


def calibrate(
    model: Any,
    quantizer: Quantizer,
    start: Callable[[nn.Linear, Any], Any],
    batches: Sequence[dict[str, Tensor]],
    folder: Path,
    progress: Progress = lambda done, total, what: None,
) -> list[str]:
    """Quantize a live float model with data.

    Args:
        quantizer: selects and builds; what it would have converted is found with data instead.
        start: `calibrate(linear, config)` of the method's record.
        batches: keywords for the model's forward pass, without labels.
        folder: where finished layers are kept, and looked for.
        progress: `progress(done, total, name)`, in linear layers.

    Returns:
        The paths of the layers that were quantized, in order.

    Raises:
        QuantizationError: nothing is selected, or a layer saw no data.
    """
    quantizer.prepare(model)
    chosen = {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear) and quantizer.select(path, module)
    }
    if not chosen:
        raise QuantizationError(f"`{quantizer.key}` finds no layer to quantize in `{type(model).__name__}`.")
    done: list[str] = []

    def finish(paths: list[str], found: dict[str, dict[str, Tensor]]) -> None:
        apply_live(model, Calibrated(quantizer, dict(found)))
        done.extend(paths)
        progress(len(done), len(chosen), paths[-1])

    left = dict(chosen)
    folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad(), _evaluating(model):
        for path, stack in _stacks(model):
            inside = [one for one in left if one.startswith(f"{path}.")]
            if inside:
                _calibrate_stack(
                    model, path, stack, {one: left.pop(one) for one in inside}, quantizer, start, batches, folder, finish
                )
        if left:
            paths = list(left)
            found = _kept(folder, "rest", paths) or _measure(left, quantizer, start, lambda: _run(model, batches))
            _keep(folder, "rest", found)
            finish(paths, found)
    return done


def _stacks(model: nn.Module) -> Iterator[tuple[str, nn.ModuleList]]:
    """The outermost lists of equal layers, in the order of the model."""
    inside: list[str] = []
    for path, module in model.named_modules():
        nested = any(path.startswith(f"{outer}.") for outer in inside)
        if isinstance(module, nn.ModuleList) and not nested and len({type(layer) for layer in module}) == 1:
            inside.append(path)
            yield path, module


def _calibrate_stack(
    model: nn.Module,
    path: str,
    stack: nn.ModuleList,
    linears: dict[str, nn.Linear],
    quantizer: Quantizer,
    start: Callable[[nn.Linear, Any], Any],
    batches: Sequence[dict[str, Tensor]],
    folder: Path,
    finish: Callable[[list[str], dict[str, dict[str, Tensor]]], None],
) -> None:
    calls = [_calls(model, stack, batch) for batch in batches]
    states = [layers[0][0] for layers in calls]  # what each batch gives the first layer
    for index, layer in enumerate(stack):
        mine = {one: linear for one, linear in linears.items() if one.startswith(f"{path}.{index}.")}

        def through(layer: nn.Module = layer, index: int = index, states: list[Tensor] = states) -> list[Tensor]:
            given = [(state, *calls[number][index][1:]) for number, state in enumerate(states)]
            return [_first(layer(state, *args, **kwargs)) for state, args, kwargs in given]

        if mine:
            name = f"{path}.{index}"
            found = _kept(folder, name, list(mine)) or _measure(mine, quantizer, start, through)
            _keep(folder, name, found)
            finish(list(mine), found)
        states = through()


def _calls(
    model: nn.Module, stack: nn.ModuleList, batch: dict[str, Tensor]
) -> list[tuple[Tensor, tuple[Any, ...], dict[str, Any]]]:
    """What each layer of the stack is called with: hidden states, other arguments, keywords."""
    seen: list[tuple[Tensor, tuple[Any, ...], dict[str, Any]]] = []

    def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # only the first layer's hidden states are needed: those of the others will come from quantized layers
        state = args[0].detach() if not seen else torch.empty(0)
        seen.append((state, args[1:], {name: value for name, value in kwargs.items() if name != "past_key_values"}))
        if len(seen) == len(stack):
            raise _Reached

    hooks = [layer.register_forward_pre_hook(note, with_kwargs=True) for layer in stack]
    try:
        with suppress(_Reached):
            _forward(model, batch)
    finally:
        for hook in hooks:
            hook.remove()
    if len(seen) != len(stack):
        raise QuantizationError(f"A forward pass of `{type(model).__name__}` does not call its layers one after another.")
    return seen


def _forward(model: Any, batch: dict[str, Tensor]) -> Any:
    caching = {"use_cache": False} if "use_cache" in type(model.config).model_fields else {}
    return model(**batch, **caching)


def _run(model: nn.Module, batches: Sequence[dict[str, Tensor]]) -> None:
    for batch in batches:
        _forward(model, batch)


def _first(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output  # type: ignore[no-any-return]


def _measure(
    linears: dict[str, nn.Linear], quantizer: Quantizer, start: Callable[[nn.Linear, Any], Any], run: Callable[[], Any]
) -> dict[str, dict[str, Tensor]]:
    """Each linear layer's tensors, from what `run` gives the layer."""
    calibrations = {path: start(linear, quantizer.config) for path, linear in linears.items()}
    rows = dict.fromkeys(linears, 0)

    def hook(path: str) -> Callable[..., None]:
        def note(_: nn.Module, args: tuple[Tensor, ...]) -> None:
            inputs = args[0].detach().reshape(-1, args[0].shape[-1])
            rows[path] += len(inputs)
            calibrations[path].add(inputs)

        return note

    hooks = [linear.register_forward_pre_hook(hook(path)) for path, linear in linears.items()]
    try:
        run()
    finally:
        for one in hooks:
            one.remove()
    unseen = [path for path, count in rows.items() if not count]
    if unseen:
        raise QuantizationError(
            f"`{unseen[0]}` saw no data in the calibration, so it cannot be quantized with it: leave it out with --skip."
        )
    return {path: calibrations.pop(path).finish() for path in list(calibrations)}


# -- what is kept between runs ---------------------------------------------------------------------------------------------


def _kept(folder: Path, name: str, paths: list[str]) -> dict[str, dict[str, Tensor]] | None:
    file = folder / f"{name}.safetensors"
    if not file.exists():
        return None
    found: dict[str, dict[str, Tensor]] = {path: {} for path in paths}
    for full, tensor in load_file(file).items():
        path, _, local = full.partition("|")
        found.setdefault(path, {})[local] = tensor
    return found if set(found) == set(paths) and all(found.values()) else None


def _keep(folder: Path, name: str, found: dict[str, dict[str, Tensor]]) -> None:
    file = folder / f"{name}.safetensors"
    if file.exists():
        return
    temporary = file.with_suffix(".tmp")
    tensors = {f"{path}|{local}": tensor.contiguous() for path, held in found.items() for local, tensor in held.items()}
    save_file(tensors, temporary)
    os.replace(temporary, file)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
