"""Arguments as other versions of the peer spell them, and those that ask for what the trainer does not do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transept.errors import UnknownArgumentError

__all__ = ["current_spelling"]

_RENAMED = {
    "evaluation_strategy": "eval_strategy",
    "activation_checkpointing": "gradient_checkpointing",
    "activation_checkpointing_kwargs": "gradient_checkpointing_kwargs",
    "no_cuda": "use_cpu",
    "warmup_ratio": "warmup_steps",
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "per_gpu_eval_batch_size": "per_device_eval_batch_size",
    "push_to_hub_model_id": "hub_model_id",
    "push_to_hub_token": "hub_token",
    "torchdynamo": "torch_compile_backend",
}

_HARMLESS: dict[str, tuple[Any, ...]] = {
    "fsdp": (None, "", [], False),
    "fsdp_config": (None, {}),
    "fsdp_min_num_params": (0,),
    "fsdp_transformer_layer_cls_to_wrap": (None,),
    "deepspeed": (None,),
    "parallelism_config": (None,),
    "use_liger_kernel": (False, None),
    "liger_kernel_config": (None,),
    "trackio_space_id": (None,),
    "trackio_bucket_id": (None,),
    "trackio_static_space_id": (None, False),
    "optim_target_modules": (None,),
    "debug": ("", [], None),
    "skip_memory_metrics": (True,),
    "hub_always_push": (False,),
    "overwrite_output_dir": (False, True),
    "save_safetensors": (True,),
    "use_ipex": (False,),
    "jit_mode_eval": (False,),
    "use_mps_device": (False, True),
    "use_legacy_prediction_loop": (False,),
    "tpu_num_cores": (None,),
    "past_index": (-1,),
    "mp_parameters": ("",),
    "ray_scope": ("last",),
    "fp16_opt_level": ("O1",),
    "fp16_backend": ("auto",),
    "half_precision_backend": ("auto",),
    "include_tokens_per_second": (False,),
    "dispatch_batches": (None, False),
}
"""Arguments whose values here change nothing: `overwrite_output_dir` never had an effect on a trainer, and a Mac's GPU is used
when there is one. Any other value is refused."""

_REASONS = {
    "fsdp": "sharded parameters are not saved by its checkpoints; several processes run with `accelerate launch` and DDP",
    "fsdp_config": "it does not shard parameters",
    "deepspeed": "it runs on accelerate without DeepSpeed",
    "parallelism_config": "it splits the data alone, not the model",
    "use_liger_kernel": "fused kernels are rewrites: `model.rewrite(...)`",
    "optim_target_modules": "no optimizer here is given modules; bring one as a plugin of `transept.optimizers`",
    "save_safetensors": "weights are saved as safetensors alone",
    "skip_memory_metrics": "it measures no memory; `benchmarks` does",
    "debug": "it has no debugging modes; `stop_on_nan` names the batch where numbers end",
}


def current_spelling(owner: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The same arguments as `TrainingArguments` calls them now.

    Raises: UnknownArgumentError for one that is given twice, in two spellings, or that asks for what is not done.
    """
    found = dict(arguments)
    for old, new in _RENAMED.items():
        if old not in found:
            continue
        value = found.pop(old)
        if new in found and not _says_nothing(old, value):
            raise UnknownArgumentError(f"`{old}` is an older spelling of `{new}`: give one of them.", argument=old)
        if not _says_nothing(old, value):
            found[new] = value
    _rewritten(found)
    for name, harmless in _HARMLESS.items():
        if name in found and (value := found.pop(name)) not in harmless:
            reason = _REASONS.get(name, "the trainer does not do that")
            raise UnknownArgumentError(f"`{owner}` does not take `{name}={value!r}`: {reason}.", argument=name)
    return found


def _says_nothing(old: str, value: Any) -> bool:
    return value is None or (old == "warmup_ratio" and value == 0)


def _rewritten(found: dict[str, Any]) -> None:
    """What was a flag, and is a value of another argument."""
    if found.pop("group_by_length", False):
        found["train_sampling_strategy"] = "group_by_length"
    if found.pop("adafactor", False):
        found["optim"] = "adafactor"
    if found.pop("include_inputs_for_metrics", False):
        found["include_for_metrics"] = [*found.get("include_for_metrics", []), "inputs"]
    if found.pop("split_batches", None):
        found["accelerator_config"] = {**(found.get("accelerator_config") or {}), "split_batches": True}
