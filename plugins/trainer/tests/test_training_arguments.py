"""Arguments: old spellings, near names, wrong values, what excludes each other."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import pytest

from transept import IntervalStrategy, Seq2SeqTrainingArguments, TrainingArguments
from transept.errors import ConfigError, PluginNotFoundError, UnknownArgumentError

SUPPORTED_OTHERWISE = {
    # of the peer's names: those whose only accepted value is the one that changes nothing
    "fsdp", "fsdp_config", "deepspeed", "parallelism_config", "use_liger_kernel", "liger_kernel_config", "trackio_space_id",
    "trackio_bucket_id", "trackio_static_space_id", "optim_target_modules", "debug", "skip_memory_metrics", "hub_always_push",
}  # fmt: skip


def test_every_argument_of_the_peer_is_known() -> None:
    transformers = pytest.importorskip("transformers")
    peer = {field.name: field for field in dataclasses.fields(transformers.TrainingArguments) if field.init}
    renamed = {"activation_checkpointing", "activation_checkpointing_kwargs"}
    assert set(peer) - set(TrainingArguments.model_fields) == SUPPORTED_OTHERWISE | renamed
    ours = TrainingArguments("out")
    differing = {"output_dir", "project", "disable_tqdm", "report_to", "enable_jit_checkpoint", "gradient_checkpointing"}
    for name, field in peer.items():
        if name in TrainingArguments.model_fields and name not in differing and field.default is not dataclasses.MISSING:
            assert getattr(ours, name) == field.default, name
    for name in SUPPORTED_OTHERWISE | renamed:
        default = peer[name].default
        TrainingArguments("out", **{name: default})


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ({"evaluation_strategy": "epoch"}, "eval_strategy", "epoch"),
        ({"warmup_ratio": 0.1}, "warmup_steps", 0.1),
        ({"no_cuda": True}, "use_cpu", True),
        ({"per_gpu_train_batch_size": 3}, "per_device_train_batch_size", 3),
        ({"group_by_length": True}, "train_sampling_strategy", "group_by_length"),
        ({"activation_checkpointing": True}, "gradient_checkpointing", True),
        ({"include_inputs_for_metrics": True}, "include_for_metrics", ["inputs"]),
        ({"adafactor": True}, "optim", "adafactor"),
        ({"push_to_hub_model_id": "a/b"}, "hub_model_id", "a/b"),
        ({"logging_dir": "logs"}, "logging_dir", "logs"),
        ({"save_safetensors": True}, "save_only_model", False),
        ({"report_to": "none"}, "report_to", []),
        ({"lr_scheduler_type": IntervalStrategy.NO}, "lr_scheduler_type", "no"),
        ({"include_num_input_tokens_seen": True}, "include_num_input_tokens_seen", "all"),
        ({"eval_strategy": "steps", "logging_steps": 7}, "eval_steps", 7),
        ({"load_best_model_at_end": True, "eval_strategy": "steps"}, "metric_for_best_model", "loss"),
        ({"lr_scheduler_kwargs": '{"num_cycles": 2}'}, "lr_scheduler_kwargs", {"num_cycles": 2}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_other_spellings(given: dict[str, Any], name: str, value: Any) -> None:
    assert getattr(TrainingArguments("out", **given), name) == value


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"lerning_rate": 1e-3}, UnknownArgumentError, "no argument `lerning_rate`. Did you mean `learning_rate`"),
        ({"evaluation_strategy": "epoch", "eval_strategy": "no"}, UnknownArgumentError, "older spelling of `eval_strategy`"),
        ({"deepspeed": "zero3.json"}, UnknownArgumentError, "without DeepSpeed"),
        ({"fsdp": "full_shard"}, UnknownArgumentError, "accelerate launch"),
        ({"save_safetensors": False}, UnknownArgumentError, "safetensors alone"),
        ({"eval_strategy": "epochs"}, ConfigError, "`eval_strategy` is 'epochs'.*Did you mean `epoch`"),
        ({"learning_rate": -1}, ConfigError, "`learning_rate` is -1"),
        ({"per_device_train_batch_size": 0}, ConfigError, "`per_device_train_batch_size` is 0"),
        ({"max_steps": 0}, ConfigError, "`max_steps` is 0"),
        ({"logging_steps": 2.5}, ConfigError, "`logging_steps` is 2.5"),
        ({"fp16": True, "bf16": True}, ConfigError, "exclude each other"),
        ({"fp16": True, "use_cpu": True}, ConfigError, "use `bf16`"),
        ({"load_best_model_at_end": True}, ConfigError, "`no` and `steps`"),
        ({"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 3, "save_steps": 5}, ConfigError, "multiple of"),
        ({"save_strategy": "best"}, ConfigError, "needs `eval_strategy` and `metric_for_best_model`"),
        ({"lr_scheduler_type": "reduce_lr_on_plateau"}, ConfigError, "follows an evaluated metric"),
        ({"dataloader_prefetch_factor": 2}, ConfigError, "`dataloader_num_workers`"),
        ({"optim_args": "momentum"}, ConfigError, "name=value"),
        ({"report_to": "tensorbord"}, ConfigError, "no tracker. Did you mean `tensorboard`"),
        ({"optim": "adamw_torch_fusd"}, PluginNotFoundError, "Did you mean `adamw_torch_fused`"),
        ({"optim": "sgd", "optim_args": "momentun=0.9"}, UnknownArgumentError, "does not take `momentun`.*Did you mean `momentum`"),
        ({"accelerator_config": {"even_batch": True}}, UnknownArgumentError, "Did you mean `even_batches`"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)  # fmt: skip
def test_what_is_refused(trainer_of: Any, given: dict[str, Any], error: type[Exception], said: str) -> None:
    """Before anything is trained, with what to do."""
    settings = {"save_strategy": "steps", "max_steps": -1, "use_cpu": False, "logging_steps": 500, **given}
    with pytest.raises(error, match=said):
        trainer_of(**settings, eval_dataset=[{"input_ids": [1], "labels": [1]}])


def test_assignment_is_checked_and_changes_nothing_when_refused() -> None:
    args = TrainingArguments("out")
    with pytest.raises(ConfigError, match="`learning_rate`"):
        args.learning_rate = "fast"
    assert args.learning_rate == 5e-5
    with pytest.raises(UnknownArgumentError, match="Did you mean `max_steps`"):
        args.max_step = 3
    args.max_steps = 3
    assert args.max_steps == 3


def test_arguments_travel() -> None:
    args = Seq2SeqTrainingArguments("out", predict_with_generate=True, hub_token="secret", warmup_steps=0.5)
    copy = pickle.loads(pickle.dumps(args))
    assert copy.to_dict() == args.to_dict()
    assert "secret" not in args.to_json_string()
    assert "secret" not in repr(args)
    assert args.get_warmup_steps(11) == 6
    changed = args.copy_with(learning_rate=1.0)
    assert (changed.learning_rate, changed.predict_with_generate) == (1.0, True)

    class Own(TrainingArguments):
        flavour: str = "plain"

    assert Own("out", flavour="sweet").flavour == "sweet"
    with pytest.raises(UnknownArgumentError, match="by position"):
        TrainingArguments("out", 3)
