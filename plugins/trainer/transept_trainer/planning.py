"""What a run would be, before it is one: steps, memory, kernels, rewrites."""

from __future__ import annotations

from collections import Counter
from inspect import signature
from typing import Any

import torch

from .loop import Plan
from .preparing import Prepared

__all__ = ["memory_estimate", "plan_lines"]

_STATE_BYTES = {"adamw_torch": 8, "adamw_torch_fused": 8, "rmsprop": 4, "adagrad": 4, "sgd": 0, "adafactor": 0}
"""Bytes that an optimizer keeps for each trained parameter; Adafactor's rows and columns are next to nothing."""


def memory_estimate(model: Any, args: Any, length: int) -> dict[str, float]:
    """Bytes by what holds them.

    Activations after https://arxiv.org/abs/2205.05198: 34 bytes a layer, token and width in half precision, twice that in full,
    without the scores of attention, which no fused kernel keeps; with checkpointing one width a layer and one layer in full.
    Logits are counted three times in float32: themselves, their softmax, their gradient.
    """
    held = {id(parameter): parameter for parameter in model.parameters()}.values()
    trained = [parameter for parameter in held if parameter.requires_grad]
    count = sum(parameter.numel() for parameter in trained)
    config, tokens = model.config, args.per_device_train_batch_size * length
    width, layers = getattr(config, "hidden_size", 0), getattr(config, "num_hidden_layers", 0)
    factor = 34 * (1 if args.bf16 or args.fp16 or model.dtype in (torch.float16, torch.bfloat16) else 2)
    deep = layers * factor
    if args.gradient_checkpointing:
        deep = factor + layers * (2 if factor == 34 else 4)
    scores = getattr(config, "vocab_size", 0) * tokens * 4 * 3 if model.get_output_embeddings() is not None else 0
    momentum = 4 if args.optimizer_options().get("momentum") else 0
    per_parameter = _STATE_BYTES.get(str(args.optim), 8) + (momentum if args.optim == "sgd" else 0)
    return {
        "weights": float(sum(parameter.numel() * parameter.element_size() for parameter in held)),
        "gradients": float(sum(parameter.numel() * parameter.element_size() for parameter in trained)),
        "optimizer": float(count * per_parameter),
        "activations": float(deep * tokens * width),
        "logits": float(scores),
    }


def plan_lines(prepared: Prepared) -> list[str]:
    """The plan, a line for each thing."""
    model, args = prepared.model, prepared.args
    trainer = prepared.trainer()
    plan = Plan(trainer, trainer.get_train_dataloader())
    batch = f"{args.per_device_train_batch_size} a batch"
    if args.gradient_accumulation_steps > 1:
        batch += f" x {args.gradient_accumulation_steps} batches a step"
    if args.world_size > 1:
        batch += f" x {args.world_size} processes"
    count = model.num_parameters()
    trained = model.num_parameters(only_trainable=True)
    longest = max(len(row["input_ids"]) for row in prepared.train)
    sizes = memory_estimate(model, args, longest)
    parts = ", ".join(f"{name} {_size(value)}" for name, value in sizes.items() if value)
    held = f", {len(prepared.evaluation):,} held out" if prepared.evaluation else ""
    rate = f"{args.learning_rate:g}, {args.lr_scheduler_type}"
    if (warmup := args.get_warmup_steps(plan.max_steps)) > 0:
        rate += f" after {warmup} steps of warmup"
    return [
        f"model: {type(model).__name__}, {count:,} parameters, {trained:,} trained, {str(model.dtype).removeprefix('torch.')}",
        f"data: {len(prepared.train):,} examples of up to {longest} tokens{held}",
        f"steps: {plan.max_steps:,} ({plan.steps_per_epoch:,} an epoch; {batch} = {plan.batch_size} examples a step)",
        f"optimizer: {args.optim}, learning rate {rate}",
        f"precision: {'float32' if args.mixed_precision == 'no' else args.mixed_precision + ' autocast'} on {args.device}",
        f"memory: about {_size(sum(sizes.values()))} ({parts})",
        f"kernels: {_kernels(model)}",
        f"rewrites: {_rewrites(model)}",
        f"output: {args.output_dir}, evaluation {_when(args.eval_strategy, args.eval_steps)}, checkpoints {_when(args.save_strategy, args.save_steps)}",
    ]


def _when(strategy: Any, steps: Any) -> str:
    return {"no": "never", "epoch": "each epoch", "best": "at each best evaluation"}.get(str(strategy), f"every {steps} steps")


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _kernels(model: Any) -> str:
    """What serves attention in a training step: asked of each layer after a pass of four tokens."""
    bindings = [binding for _, binding in model.attention_layers()]
    if not bindings:
        return "the model has no attention layers"
    base = model.base_model
    takes = signature(base.forward).parameters
    tokens = torch.ones((1, 4), dtype=torch.long, device=model.device)
    model.train()
    with torch.no_grad():
        base(**{name: tokens for name in ("input_ids", "decoder_input_ids") if name in takes})
    found = Counter(binding.explain().kernel for binding in bindings)
    return ", ".join(f"{kernel} in {count} layers" for kernel, count in found.items())


def _rewrites(model: Any) -> str:
    found = Counter(applied.key for applied in model.applied_rewrites)
    return ", ".join(f"{key} on {count} modules" for key, count in found.items()) or "none"
