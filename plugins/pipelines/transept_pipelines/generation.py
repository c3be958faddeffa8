"""What the tasks that write text share: the arguments of `generate`, and where each comes from."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from transept import GenerationConfig, GenerationMixin
from transept.discovery import registry
from transept.errors import InputError

from .base import Pipeline

__all__ = ["GeneratingPipeline"]

_SAMPLING = frozenset(["temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff"])
_BEAMS = frozenset(["early_stopping", "length_penalty", "num_beam_groups", "diversity_penalty"])
_OWN = frozenset({"self", "kwargs", "inputs", "input_ids", "attention_mask", "labels", "inputs_embeds", "return_dict"})
_KEPT = ("sequences_scores", "scores", "logits")
"""What `return_dict_in_generate` adds to a result."""


class GeneratingPipeline(Pipeline):
    """A task whose `_forward` calls `generate`, with every argument that `generate` and the model take.

    Where an argument comes from, the first that names it: the call, the pipeline's making, a `generation_config` of either,
    (of encoder–decoders) `task_specific_params` of the model's config, the model's own generation config, the task's default.
    """

    default_generation: ClassVar[Mapping[str, Any]] = {"max_new_tokens": 256}

    def __init__(self, model: Any, *components: Any, **parameters: Any) -> None:
        super().__init__(model, *components, **parameters)
        if not hasattr(model, "generate"):
            raise InputError(f"`{type(model).__name__}` does not generate text, which `{self.task}` asks of it.")

    def further_parameters(self) -> Collection[str]:
        return self._generate_parameters

    @cached_property
    def _generate_parameters(self) -> frozenset[str]:
        names = {*GenerationConfig().to_dict(), *inspect.signature(GenerationMixin.generate).parameters}
        names |= set(inspect.signature(self.model.forward).parameters)
        names |= {name for record in registry.records("decoding") for name in record.arguments}
        return frozenset(names - _OWN)

    def task_specific(self, task: str) -> dict[str, Any]:
        """What the model's config says for a task: a `prefix`, and arguments of `generate`."""
        of_tasks = self._config_value("task_specific_params")
        found = of_tasks.get(task) if isinstance(of_tasks, Mapping) else None
        return dict(found) if isinstance(found, Mapping) else {}

    def _config_value(self, name: str) -> Any:
        config = self.model.config
        return config.get(name) if hasattr(config, "get") else getattr(config, name, None)

    def generate(self, inputs: Mapping[str, Any], given: dict[str, Any], task: str | None = None) -> dict[str, Any]:
        """Generate for a batch; with `task`, its settings in the model's `task_specific_params` are taken too.

        Returns:
            `sequences`: LongTensor (batch, returned, length); `ends`: LongTensor (batch, returned), where each is over; and of
            what `return_dict_in_generate` asks for, tensors (batch, returned, …).
        """
        arguments, effective = self._arguments(given, task)
        output = self.model.generate(**inputs, **arguments)
        batch = inputs["input_ids"].shape[0]
        sequences = output if isinstance(output, Tensor) else output.sequences
        prompt = 1 if self.model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
        found = {"sequences": sequences, "ends": _ends(sequences, prompt, effective.get("eos_token_id"))}
        if not isinstance(output, Tensor):
            for name in _KEPT:
                value = getattr(output, name, None)
                if value is not None:
                    found[name] = torch.stack(list(value), 1) if isinstance(value, tuple) else value
        return {name: value.reshape(batch, -1, *value.shape[1:]) for name, value in found.items()}

    def _arguments(self, given: dict[str, Any], task: str | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """The keywords for `generate`, and every value in force as far as it is known here."""
        user = given.get("generation_config")
        by_user = {**({} if user is None else user.to_diff_dict()), **given}
        own = getattr(self.model, "generation_config", None)
        by_model = {} if own is None else own.to_diff_dict()
        of_task = {} if task is None else self.task_specific(task)
        specific = _fitting({name: value for name, value in of_task.items() if name not in by_user}, by_user)
        stated = {**by_model, **specific, **by_user}
        defaults = dict(self.default_generation)
        if self.tokenizer.pad_token_id is not None:
            defaults["pad_token_id"] = self.tokenizer.pad_token_id
        if "max_length" in stated:
            defaults.pop("max_new_tokens", None)
        defaults = {name: value for name, value in defaults.items() if name not in stated}
        if not {**defaults, **stated}.get("do_sample"):
            defaults = {name: value for name, value in defaults.items() if name not in _SAMPLING}
        arguments = {**defaults, **specific, **given}
        if stated.get("stop_strings") and "tokenizer" not in arguments:
            arguments["tokenizer"] = self.tokenizer
        return arguments, {**defaults, **stated}

    def extra_results(self, outputs: Mapping[str, Any], place: int) -> dict[str, Any]:
        """What `return_dict_in_generate` asked for, of one returned sequence, as numbers and lists."""
        return {name: outputs[name][0, place].tolist() for name in _KEPT if name in outputs}


def _fitting(specific: dict[str, Any], by_user: Mapping[str, Any]) -> dict[str, Any]:
    """Of a checkpoint's settings for the task, those that agree with what the user asks for."""
    found = {name: value for name, value in specific.items() if name != "prefix"}
    longest = by_user.get("max_new_tokens") or by_user.get("max_length")
    if longest is not None:
        found.pop("max_length", None)
        found.pop("max_new_tokens", None)
        if (found.get("min_length") or 0) > longest:
            found.pop("min_length")
    if by_user.get("num_beams") == 1:
        found = {name: value for name, value in found.items() if name not in _BEAMS}
    if by_user.get("do_sample") is False:
        found = {name: value for name, value in found.items() if name not in _SAMPLING}
    return found


def _ends(sequences: Tensor, prompt: int, eos: Any) -> Tensor:
    """Where each row is over: after the first end of sequence behind the prompt, else at its length."""
    length = sequences.shape[1]
    ids = [] if eos is None else eos if isinstance(eos, list | tuple) else [eos]
    is_end = torch.isin(sequences, torch.tensor([int(token) for token in ids], device=sequences.device, dtype=sequences.dtype))
    is_end[:, :prompt] = False
    first = torch.where(is_end.any(-1), is_end.int().argmax(-1) + 1, length)
    return first
