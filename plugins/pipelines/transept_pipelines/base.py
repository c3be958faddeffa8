"""`Pipeline`: inputs of any kind in, results of the same kind out; a task says what happens in between."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from tqdm import tqdm

import transept
from transept.auto import task_door
from transept.errors import InputError, PlacementError, UnknownArgumentError, UnsupportedTaskError, did_you_mean, shorten
from transept.files import Location

from .batching import collate, groups, split, to_device
from .inputs import Inputs, Results, sort_inputs

__all__ = ["ChunkPipeline", "Pipeline"]

Steps = tuple[dict[str, Any], dict[str, Any], dict[str, Any]]
"""The keywords of `preprocess`, `_forward` and `postprocess`."""


class Pipeline:
    """A task: what becomes of an input before the model, in it, and after it.

    A subclass implements three steps; keyword-only parameters of theirs are the keywords that the pipeline takes, when it is
    made (for every call) or when it is called:

    - `preprocess(item, **…)`: one input to a mapping of the model's inputs, tensors (1, …); other values travel along.
    - `_forward(inputs, **…)`: a batch of those, on the model's device, to a mapping of outputs.
    - `postprocess(outputs, **…)`: the outputs of one input, on the CPU, to the result.

    A step with `**others` takes what `further_parameters` names. Code written for the peer may override
    `_sanitize_parameters` instead, which deals the keywords out.

    Args:
        model: the model.
        tokenizer, feature_extractor, image_processor, processor: what prepares its inputs.
        task: the task as it was asked for.
        device: where to move the model: a number counts accelerators, -1 is the CPU. None leaves it where it is.
        batch_size: inputs in one pass of the model.
        progress_bar: for lists and datasets, on a terminal. None: for lists that take more than two seconds.
        parameters: keywords for every call.

    Raises:
        UnknownArgumentError: a keyword that no step takes.
        InputError: an input that the task cannot use.
        PlacementError: no such device, or a model that is spread over several.
    """

    components: ClassVar[tuple[str, ...]] = ("tokenizer",)
    """Of `tokenizer`, `feature_extractor`, `image_processor` and `processor`: those that `pipeline()` loads with the model."""
    represents_head: ClassVar[bool] = False
    """Whether `pipeline(model=…)` without a task chooses this one for models with the head that its record names."""
    padding_side: ClassVar[str | None] = None
    """Where batches are filled; None: where the tokenizer says."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        feature_extractor: Any = None,
        image_processor: Any = None,
        processor: Any = None,
        *,
        task: str = "",
        device: int | str | torch.device | None = None,
        batch_size: int | None = None,
        progress_bar: bool | None = None,
        **parameters: Any,
    ) -> None:
        self.model, self.tokenizer, self.task = model, tokenizer, task
        self.feature_extractor, self.image_processor, self.processor = feature_extractor, image_processor, processor
        for name in self.components:
            if getattr(self, name) is None:
                raise InputError(f"`{task or type(self).__name__}` needs a {name.replace('_', ' ')}: pass `{name}=`.")
        self.batch_size, self.progress_bar = _size(1 if batch_size is None else batch_size), progress_bar
        if device is not None:
            self._move(find_device(device))
        self._made_with = self._deal(parameters)

    @classmethod
    def load_model(cls, location: Location, record: Any, options: dict[str, Any]) -> Any:
        """Load the model for the task from a checkpoint's place; the default takes the auto class for the record's `task`.

        Raises: UnsupportedTaskError when the architecture has no class for it.
        """
        try:
            door = getattr(transept, task_door(record.task))
        except KeyError:
            text = f"`{record.key}` is for models of the task `{record.task}`, which no auto class loads"
            raise UnsupportedTaskError(f"{text}: `{cls.__name__}.load_model` has to, or pass a loaded model.") from None
        return door.from_pretrained(location, **options)

    # -- what a task says ----------------------------------------------------------------------------------------------

    # `*args, **kwargs`: type checkers then let a subclass name its own parameters

    def preprocess(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def _forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def postprocess(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def further_parameters(self) -> Collection[str]:
        """Names that a step with `**others` takes."""
        return ()

    def sort_inputs(self, inputs: Any) -> Inputs:
        """One thing, several, or a stream; see `transept_pipelines.inputs.sort_inputs`."""
        return sort_inputs(inputs)

    def fillers(self) -> dict[str, Any]:
        """Values that shorter inputs of a batch are filled with, by the input's name."""
        pad = getattr(self.tokenizer, "pad_token_id", None)
        if pad is None:
            pad = getattr(getattr(self.model, "config", None), "pad_token_id", None)
        types = getattr(self.tokenizer, "pad_token_type_id", 0)
        return {"input_ids": 0 if pad is None else pad, "token_type_ids": types, "special_tokens_mask": 1}

    # -- a call --------------------------------------------------------------------------------------------------------

    def __call__(
        self, inputs: Any, *, batch_size: int | None = None, progress_bar: bool | None = None, **parameters: Any
    ) -> Any:
        """Work on one input, a list of them, or a stream (a dataset, a generator), whose results come as they are asked for."""
        made, now = self._made_with, self._deal(parameters)
        steps: Steps = tuple({**old, **new} for old, new in zip(made, now, strict=True))  # type: ignore[assignment]
        size = self.batch_size if batch_size is None else _size(batch_size)
        given = self.sort_inputs(inputs)
        wanted = self.progress_bar if progress_bar is None else progress_bar
        results = self._shown(self._run(given.items, size, steps), given, wanted)
        if given.kind == "stream":
            return Results(results, given.length)
        found = list(results)
        return found[0] if given.kind == "one" else found

    def _shown(self, results: Iterator[Any], given: Inputs, wanted: bool | None) -> Iterator[Any]:
        """The results, with a bar where one is wanted and stderr is a terminal."""
        if wanted is False or given.kind == "one" or (wanted is None and given.kind == "stream"):
            return results
        unit = {"unit": "input", "desc": self.task or None}
        return iter(tqdm(results, total=given.length, disable=None, delay=0 if wanted else 2, **unit))

    def _run(self, items: Iterable[Any], size: int, steps: Steps) -> Iterator[Any]:
        before, during, after = steps
        waiting: list[Any] = []
        for group in groups(self._prepared(items, before), size):
            batch = collate([inputs for inputs, _ in group], self.fillers(), self._side())
            outputs = split(self.forward(batch, **during), len(group))
            for each, (_, is_last) in zip(outputs, group, strict=True):
                waiting.append(each)
                if is_last:
                    yield self._finished(waiting, after)
                    waiting = []

    def _prepared(self, items: Iterable[Any], parameters: dict[str, Any]) -> Iterator[tuple[Mapping[str, Any], bool]]:
        """The model's inputs for each item, and whether they are the item's last."""
        for item in items:
            yield self.preprocess(item, **parameters), True

    def _finished(self, outputs: list[Any], parameters: dict[str, Any]) -> Any:
        return self.postprocess(outputs[0], **parameters)

    def forward(self, inputs: Mapping[str, Any], **parameters: Any) -> dict[str, Any]:
        """One pass of the model: on its device, without gradients, in evaluation mode; outputs come back to the CPU."""
        with torch.no_grad(), _evaluating(self.model):
            outputs = self._forward(to_device(dict(inputs), self.device), **parameters)
        found: dict[str, Any] = to_device(outputs, torch.device("cpu"))
        return found

    def _side(self) -> str:
        return self.padding_side or getattr(self.tokenizer, "padding_side", None) or "right"

    # -- keywords ------------------------------------------------------------------------------------------------------

    def _sanitize_parameters(self, **parameters: Any) -> Steps:
        """Deal keywords out to the steps: to each those that its signature names, the others to the step with `**others`."""
        named = self._step_parameters()
        spoken_for = {name for names, _ in named for name in names}
        return tuple(  # type: ignore[return-value]
            {name: value for name, value in parameters.items() if name in names or (others and name not in spoken_for)}
            for names, others in named
        )

    def _deal(self, parameters: dict[str, Any]) -> Steps:
        known, others = self._known_parameters()
        for name in parameters:
            if name not in known and not others:
                raise UnknownArgumentError(
                    f"`{self.task or type(self).__name__}` takes no argument `{name}`.{did_you_mean(name, known)}",
                    argument=name,
                )
        return self._sanitize_parameters(**parameters)

    def _known_parameters(self) -> tuple[set[str], bool]:
        """The keywords of a call, and whether any other is taken too (which only code written for the peer does)."""
        if type(self)._sanitize_parameters is not Pipeline._sanitize_parameters:
            names, others = _keywords(self._sanitize_parameters, skip=0)
            return {*names, "batch_size", "progress_bar"}, others
        names = {name for step, _ in self._step_parameters() for name in step}
        return {*names, *self.further_parameters(), "batch_size", "progress_bar"}, False

    def _step_parameters(self) -> list[tuple[set[str], bool]]:
        return [_keywords(step, skip=1) for step in (self.preprocess, self._forward, self.postprocess)]

    # -- the model -----------------------------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        found: torch.device = self.model.device
        return found

    @property
    def dtype(self) -> torch.dtype:
        found: torch.dtype = self.model.dtype
        return found

    torch_dtype = dtype

    def _move(self, device: torch.device) -> None:
        spread = getattr(self.model, "hf_device_map", None) or {}
        if len(spread) > 1:
            raise PlacementError(
                f"The model is spread over {shorten({str(place) for place in spread.values()})}, so it cannot be moved to "
                f"`{device}`: leave `device` out."
            )
        if self.device != device:
            self.model.to(device)

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> None:
        """Save the model and what prepares its inputs to one folder, from which `pipeline` loads them."""
        for part in (self.model, self.tokenizer, self.feature_extractor, self.image_processor, self.processor):
            if part is not None:
                part.save_pretrained(save_directory)

    def transform(self, inputs: Any) -> Any:
        """The same as a call; scikit-learn's name."""
        return self(inputs)

    predict = transform

    def __repr__(self) -> str:
        return f"{type(self).__name__}(task={self.task!r}, model={type(self.model).__name__}, device={str(self.device)!r})"

    def check_text(self, item: Any) -> str:
        """An input as the text that it must be.

        Raises: InputError, which says what to do with a dataset's row.
        """
        if isinstance(item, str):
            return item
        what = f"`{self.task or type(self).__name__}` works on text, and an input is a `{type(item).__name__}`"
        if isinstance(item, Mapping):
            raise InputError(
                f"{what} with {shorten(item) or 'no keys'}. Of a dataset's rows take the column: "
                '`from transept_pipelines import KeyDataset; pipe(KeyDataset(rows, "text"))`.'
            )
        raise InputError(f"{what}: `{item!r:.80}`. Give a string, a list of strings, or a dataset of them.")

    def check_not_empty(self, inputs: Mapping[str, Any], text: str) -> None:
        """Raises InputError where a text has no tokens."""
        if inputs["input_ids"].shape[-1] == 0:
            raise InputError(f"The text {text!r:.40} has no tokens for the model to read: leave it out.")


class ChunkPipeline(Pipeline):
    """A task that gives the model several inputs for one item: parts of a long text, or a pair for each label.

    `preprocess` yields each of them; batches are filled across items; `postprocess` gets the list of an item's outputs.
    """

    def _prepared(self, items: Iterable[Any], parameters: dict[str, Any]) -> Iterator[tuple[Mapping[str, Any], bool]]:
        for item in items:
            chunks = iter(self.preprocess(item, **parameters))
            chunk = next(chunks, None)
            if chunk is None:
                raise InputError(f"The input `{item!r:.80}` gives the model nothing to work on.")
            for following in chunks:
                yield chunk, False
                chunk = following
            yield chunk, True

    def _finished(self, outputs: list[Any], parameters: dict[str, Any]) -> Any:
        return self.postprocess(outputs, **parameters)


def find_device(device: int | str | torch.device) -> torch.device:
    """A device by number (of the accelerators; -1: the CPU), name or itself.

    Raises: PlacementError when this machine has none of that kind.
    """
    if isinstance(device, int) and not isinstance(device, bool):
        if device < 0:
            return torch.device("cpu")
        kind = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        if kind is None:
            raise PlacementError(f"`device={device}` is an accelerator, and this machine has none: `device='cpu'` or -1.")
        return torch.device(kind.type, device)
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise PlacementError(f"`device={device!r}` is no device that this machine has: {reason}") from error
    return found


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """Evaluation mode, in which dropout is off; a model that was in training is put back."""
    training = bool(getattr(model, "training", False))
    if training:
        model.eval()
    try:
        yield
    finally:
        if training:
            model.train()


def _size(batch_size: Any) -> int:
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise InputError(f"`batch_size` is a number of inputs from 1 up, not {batch_size!r}.")
    return batch_size


def _keywords(function: Callable[..., Any], skip: int) -> tuple[set[str], bool]:
    """Names of the parameters after the first `skip`, and whether there is a `**` among them."""
    parameters = list(inspect.signature(function).parameters.values())[skip:]
    names = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    return names, any(p.kind is p.VAR_KEYWORD for p in parameters)


def is_own_model(model: Any) -> bool:
    """Whether a model is one of transept's, and no wrapper of another library."""
    return isinstance(model, transept.PreTrainedModel)
