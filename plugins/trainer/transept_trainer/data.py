"""From datasets to loaders: `datasets`, torch's map-style and iterable datasets, lists of dicts, anything that can be iterated."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sized
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, IterableDataset, SequentialSampler

from transept.errors import ConfigError, InputError, UnknownArgumentError, did_you_mean

from .batches import Sharing, StreamLoader, TrainLoader, length_grouped_order, random_order
from .columns import Columns
from .names import SamplingStrategy

if TYPE_CHECKING:
    from .trainer import Trainer

__all__ = ["accelerator_options", "default_collator", "eval_loader", "has_length", "train_loader"]

_ACCELERATOR_OPTIONS = ("split_batches", "even_batches", "non_blocking", "gradient_accumulation_kwargs")


def accelerator_options(given: dict[str, Any] | str | None) -> dict[str, Any]:
    """`accelerator_config`, from a dict or a JSON file.

    Raises: UnknownArgumentError for an option that is not known; ConfigError for a file that cannot be read.
    """
    if isinstance(given, str):
        try:
            with open(given, encoding="utf-8") as file:
                given = json.load(file)
        except (OSError, ValueError) as error:
            raise ConfigError(f"`accelerator_config` is `{given}`, which cannot be read as JSON: {error}") from error
    options = dict(given or {})
    # the order of examples always follows from a seed, and each process makes its own batches
    harmless = {"use_seedable_sampler": (True, None), "dispatch_batches": (False, None), "use_configured_state": (False, None)}
    for name, value in list(options.items()):
        if name in harmless and value in harmless[name]:
            del options[name]
        elif name not in _ACCELERATOR_OPTIONS:
            hint = did_you_mean(name, _ACCELERATOR_OPTIONS) or f" It takes: {', '.join(_ACCELERATOR_OPTIONS)}."
            raise UnknownArgumentError(f"`accelerator_config` does not take `{name}={value!r}`.{hint}")
    return options


def has_length(data: Any) -> bool:
    """Whether `len(data)` works; a dataset may declare it and not know it."""
    try:
        return isinstance(data, Sized) and len(data) is not None
    except TypeError:
        return False


def default_collator(processing_class: Any) -> Callable[..., Any]:
    """Padding with the tokenizer or feature extractor where there is one, else stacking."""
    from transept_data import DataCollatorWithPadding, default_data_collator

    if hasattr(processing_class, "pad"):
        return DataCollatorWithPadding(processing_class)
    return default_data_collator


def _is_hub_dataset(data: Any) -> bool:
    """One of the library `datasets`, in memory or on disk; asked without importing it."""
    library = sys.modules.get("datasets")
    return library is not None and isinstance(data, library.Dataset)


def _is_stream(data: Any) -> bool:
    return isinstance(data, IterableDataset) or not hasattr(data, "__getitem__")


def checked(data: Any, what: str) -> Any:
    """The dataset, once it is known to be one. Raises: InputError."""
    if data is None:
        raise InputError(f"There is no {what} data: give `{'train' if what == 'training' else 'eval'}_dataset`.")
    if isinstance(data, Mapping) and what == "training":
        found = ", ".join(f"`{key}`" for key in list(data)[:5])
        raise InputError(f"`train_dataset` is a mapping with {found}: give one of them, such as `dataset['train']`.")
    if isinstance(data, str | bytes) or not (hasattr(data, "__getitem__") or hasattr(data, "__iter__")):
        raise InputError(
            f"The {what} data is a `{type(data).__name__}`: give a dataset, a list of dicts or an iterable of dicts."
        )
    if has_length(data) and len(data) == 0:
        raise InputError(f"The {what} data is empty: it has no examples.")
    if not _is_stream(data) and not has_length(data):
        raise InputError(
            f"The {what} data has `__getitem__` and no length: give it a `__len__`, or make it an `IterableDataset`."
        )
    return data


def prepared(trainer: Trainer, data: Any, what: str) -> tuple[Any, Callable[..., Any]]:
    """The dataset and the collator, with the columns that the model does not take left out."""
    collate = trainer.data_collator
    if not trainer.args.remove_unused_columns:
        return data, collate
    accepted = trainer.accepted_columns()
    columns = Columns(collate, accepted, type(trainer.model).__name__, what)
    if _is_hub_dataset(data) and accepted is not None:
        dropped = [name for name in data.column_names if name not in accepted]
        if dropped:
            columns.say(data.column_names, dropped)
            data = data.remove_columns(dropped)
        return data, collate
    return data, columns


def _worker_options(trainer: Trainer) -> dict[str, Any]:
    args = trainer.args
    return {
        "num_workers": args.dataloader_num_workers,
        "pin_memory": args.dataloader_pin_memory and torch.cuda.is_available() and not args.use_cpu,
        "persistent_workers": args.dataloader_persistent_workers,
        "prefetch_factor": args.dataloader_prefetch_factor,
        "multiprocessing_context": args.dataloader_multiprocessing_context,
        "in_order": args.dataloader_in_order,
    }


def train_loader(trainer: Trainer, data: Any, batch_size: int) -> DataLoader[Any]:
    """Batches for this process; raises InputError for data that is none."""
    args = trainer.args
    data, collate = prepared(trainer, checked(data, "training"), "training")
    options = accelerator_options(args.accelerator_config)
    sharing = Sharing(args.process_index, args.world_size, options.get("even_batches", True) is not False)
    if options.get("split_batches") and batch_size % sharing.processes:
        raise ConfigError(f"`split_batches`: a batch of {batch_size} cannot be split over {sharing.processes} processes.")
    shared: dict[str, Any] = {
        "batch_size": batch_size // sharing.processes if options.get("split_batches") else batch_size,
        "seed": args.order_seed,
        "drop_last": args.dataloader_drop_last,
        "sharing": sharing,
        **_worker_options(trainer),
    }
    if _is_stream(data):
        if args.train_sampling_strategy == SamplingStrategy.GROUP_BY_LENGTH:
            raise ConfigError("`group_by_length` needs data with a length, and an iterable has none.")
        return StreamLoader(data, collate, **shared)
    return TrainLoader(data, collate, order=train_order(trainer, data), **shared)


def train_order(trainer: Trainer, data: Any) -> Callable[[int], list[int]]:
    """From the number of an epoch to the order of its rows."""
    args, count, seed = trainer.args, len(data), trainer.args.order_seed
    if args.train_sampling_strategy == SamplingStrategy.SEQUENTIAL:
        return lambda epoch: list(range(count))
    if args.train_sampling_strategy == SamplingStrategy.GROUP_BY_LENGTH:
        lengths = lengths_of(trainer, trainer.train_dataset)
        size = args.train_batch_size * args.gradient_accumulation_steps
        return lambda epoch: length_grouped_order(lengths, size, seed, epoch)
    return lambda epoch: random_order(count, seed, epoch)


def lengths_of(trainer: Trainer, data: Any) -> list[int]:
    """Tokens of each example: the column that holds them, or the length of the model's main input."""
    name = trainer.args.length_column_name
    if _is_hub_dataset(data) and name in data.column_names:
        return [int(length) for length in data[name]]
    main = (getattr(trainer.processing_class, "model_input_names", None) or ["input_ids"])[0]
    first = data[0]
    if isinstance(first, Mapping) and name in first:
        return [int(row[name]) for row in data]
    if not isinstance(first, Mapping) or main not in first:
        raise InputError(f"`group_by_length` needs examples that are dicts with `{main}` or `{name}`.")
    return [len(row[main]) for row in data]


class _Examples(IterableDataset[Any]):
    """An iterable that is no dataset of torch's, for its DataLoader."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __iter__(self) -> Iterator[Any]:
        return iter(self.data)


def eval_loader(trainer: Trainer, data: Any, what: str) -> DataLoader[Any]:
    """Batches in order, shared among the processes by accelerate."""
    data, collate = prepared(trainer, checked(data, what), what)
    options = _worker_options(trainer)
    generator = torch.Generator().manual_seed(trainer.args.order_seed)  # see `TrainLoader`
    batch = {"batch_size": trainer.args.eval_batch_size, "collate_fn": collate, "generator": generator, **options}
    if _is_stream(data):
        stream = data if isinstance(data, IterableDataset) else _Examples(data)
        loader = DataLoader(stream, **batch)
    else:
        loader = DataLoader(data, sampler=SequentialSampler(data), **batch)
    made = trainer.accelerator.prepare_data_loader(loader)
    # accelerate would keep the loader of every evaluation
    trainer.accelerator._dataloaders.remove(made)
    return made
