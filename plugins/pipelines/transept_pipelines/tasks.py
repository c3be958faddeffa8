"""Which pipeline serves a task, and which task a model is for."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from transept.auto import task_door
from transept.discovery import load_object, registry
from transept.errors import InputError, PluginNotFoundError, UnsupportedTaskError, shorten

from .base import Pipeline

__all__ = ["check_head", "class_of", "door_of", "find_task", "infer_task"]


def find_task(task: str) -> Any:
    """The `PipelineSpec` for a task: by its key, else by an alias (or a pattern of one) that an installed record has.

    Raises:
        PluginNotFoundError: no installed plugin has it; the message says which are near, and what is installed.
    """
    if not isinstance(task, str):
        raise InputError(
            f"`task` is a name such as 'text-classification', not a `{type(task).__name__}`. A model goes into `model=`."
        )
    record = registry.find("pipelines", task)
    if record is not None:
        return record
    for each in registry.records("pipelines"):
        if any(fnmatchcase(task, alias) for alias in each.aliases):
            return each
    try:
        return registry.get("pipelines", task)
    except PluginNotFoundError as error:
        said, installed = str(error), registry.keys("pipelines")
        if "Installed:" not in said:
            said = f"{said.rstrip('.')}{'' if said.endswith('?') else '.'} Installed tasks: {shorten(installed, 30) or 'none'}"
        raise PluginNotFoundError(said, **error.fields) from None


def class_of(record: Any) -> type[Pipeline]:
    """The pipeline's class. Raises what importing its plugin raises."""
    found: type[Pipeline] = load_object(record.pipeline, owner=registry.owner("pipelines", record.key))
    return found


def door_of(task: str) -> str:
    """Name of the auto class that loads models for a model task; a stranger's own task has none."""
    try:
        return task_door(task)
    except KeyError:
        return f"the class for `{task}`"


def heads_of(model_type: str) -> dict[str, str]:
    """Class name of each of an architecture's heads, by the model task: `{"causal_lm": "LlamaForCausalLM"}`."""
    spec = registry.find("models", model_type)
    return {} if spec is None else {task: reference.rpartition(":")[2] for task, reference in spec.tasks.items()}


def infer_task(model_type: str, class_names: list[str], where: str) -> str:
    """The task that a model is for, from its class: its name, then those of its bases; of a checkpoint, `architectures`.

    Raises:
        InputError: that cannot be told; the message asks for `task=`.
    """
    heads = heads_of(model_type)
    known = next((name for name in class_names if name in heads.values()), None)
    if known is not None:
        served = {task for task, name in heads.items() if name == known}  # one class may serve several
        records = [record for record in registry.records("pipelines") if record.task in served]
        found = [record.key for record in records if class_of(record).represents_head]
        # a task under several names stands in several records
        chosen = [key for key in found if not any(key in registry.get("pipelines", other).aliases for other in found)]
        if len(chosen) == 1:
            return chosen[0]
        if chosen:
            raise InputError(f"{where} is for {shorten(chosen)}: name one, `pipeline(task, model=…)`.")
    said = shorten(class_names[:1]) or "no class"
    raise InputError(
        f"The task cannot be told from {where}, which names {said}. Name it: `pipeline(task, model=…)`, one of "
        f"{shorten(registry.keys('pipelines'), 30)}."
    )


def check_head(model: Any, record: Any, task: str) -> None:
    """Raises UnsupportedTaskError when a model of an installed architecture has another head than the task needs."""
    heads = heads_of(getattr(model.config, "model_type", ""))
    if record.task == "base" or not heads:
        return
    names = [kind.__name__ for kind in type(model).__mro__]
    wanted = heads.get(record.task)
    if wanted in names or not any(known in names for known in heads.values()):
        return
    if wanted is None:
        needs = f"`{model.config.model_type}` has no head for it; it has {shorten(sorted({*heads.values()}), 12)}"
    else:
        needs = f"it needs `{wanted}`, which `{door_of(record.task)}.from_pretrained` loads"
    raise UnsupportedTaskError(f"`{type(model).__name__}` cannot do `{task}`: {needs}.", task=record.task)
