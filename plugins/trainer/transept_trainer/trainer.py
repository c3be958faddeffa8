"""`Trainer`: the face of training. What a subclass may override is here; the work is in the rooms beside it.

Devices, precision and processes are accelerate's; the loop is `loop.py`, evaluation `evaluation.py`, checkpoints `checkpoint.py`.
"""

from __future__ import annotations

import dis
import functools
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from transept.errors import ConfigError, InputError, UnknownArgumentError
from transept.seed import set_seed

from .arguments import TrainingArguments
from .callbacks import CallbackHandler, TrainerCallback, TrainerControl, TrainerState
from .checkpoint import Saved, read_training
from .columns import inspected, label_names_of
from .data import default_collator, has_length
from .devices import make_accelerator
from .evaluation import evaluation_loop, prediction_step
from .feeding import Feeding
from .flow import DefaultFlowCallback, metric_key
from .folders import resumable
from .logbook import Logbook
from .loop import TrainingRun
from .loss import count_labels, label_smoothed_loss, neftune, shifts_labels, takes_item_count
from .notices import notice, set_level
from .optimizers import optimizer_and_options
from .optimizing import Optimizing
from .progress import PrinterCallback, ProgressCallback, has_terminal
from .recording import Recording
from .results import EvalLoopOutput, PredictionOutput, TrainOutput, speed_metrics
from .tracking import Trackers
from .weights import load_weights

__all__ = ["Trainer"]


class Trainer(Feeding, Optimizing, Recording):
    """Trains, evaluates and predicts with a model of ours, of the peer's, or any module that returns a loss.

    Args:
        model: the model, or None with `model_init`.
        args: see `TrainingArguments`.
        data_collator: from a list of examples to a batch; padding with `processing_class` where that can pad, else stacking.
        train_dataset, eval_dataset: of `datasets`, of torch (map-style or iterable), a list of dicts, or any iterable of dicts;
            `eval_dataset` may be a dict of several, each evaluated under its name.
        processing_class: tokenizer, feature extractor or processor; saved with each checkpoint. `tokenizer` is its older name.
        model_init: makes the model anew at each `train`.
        compute_loss_func: `(outputs, labels, num_items_in_batch=…) -> loss`, in place of the model's own.
        compute_metrics: from an `EvalPrediction` to a dict of numbers; with `batch_eval_metrics` it is called for each batch, with
            `compute_result=True` at the last.
        callbacks: added to the default ones; classes or instances.
        optimizers: `(optimizer, schedule)`, either of which may be None.
        optimizer_cls_and_kwargs: a class and its arguments, in place of `args.optim`.
        preprocess_logits_for_metrics: `(logits, labels) -> logits`, before they are gathered.

    Raises:
        ConfigError, InputError, UnknownArgumentError: as soon as it can be known.
    """

    args_class: ClassVar[type[TrainingArguments]] = TrainingArguments
    loss_is_scaled_for_ga: bool | None = None
    """For a subclass with a `compute_loss` of its own: whether that divides by `num_items_in_batch` itself. None: it does when it
    reads that argument; otherwise its loss is a mean, which is divided by the batches of a step."""

    def __init__(
        self,
        model: nn.Module | None = None,
        args: TrainingArguments | None = None,
        data_collator: Callable[[list[Any]], Any] | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        model_init: Callable[..., nn.Module] | None = None,
        compute_loss_func: Callable[..., Tensor] | None = None,
        compute_metrics: Callable[..., dict[str, Any]] | None = None,
        callbacks: Sequence[type[TrainerCallback] | TrainerCallback] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
        optimizer_cls_and_kwargs: tuple[type[torch.optim.Optimizer], dict[str, Any]] | None = None,
        preprocess_logits_for_metrics: Callable[[Any, Any], Any] | None = None,
        *,
        tokenizer: Any = None,
    ) -> None:
        if tokenizer is not None:
            if processing_class is not None:
                raise UnknownArgumentError("`tokenizer` is an older spelling of `processing_class`: give one of them.")
            processing_class = tokenizer
        self.args = args = self.args_class() if args is None else args
        if not isinstance(args, TrainingArguments):
            raise ConfigError(f"`args` is a `{type(args).__name__}`: give transept's `TrainingArguments`.")
        args.check()
        if (model is None) == (model_init is None):
            raise InputError("`Trainer` needs one of `model` and `model_init`.")
        set_level(args.log_level)
        set_seed(args.seed, deterministic=args.full_determinism)
        self.model_init = model_init
        self.model: nn.Module = model if model is not None else self.call_model_init()
        self.accelerator = make_accelerator(args, checkpointing=args.gradient_checkpointing)
        self.gather_function: Callable[..., Any] = functools.partial(
            self.accelerator.gather_for_metrics, use_gather_object=args.eval_use_gather_object
        )
        self.data_collator = data_collator if data_collator is not None else default_collator(processing_class)
        self.train_dataset, self.eval_dataset, self.processing_class = train_dataset, eval_dataset, processing_class
        self.compute_loss_func, self.compute_metrics = compute_loss_func, compute_metrics
        self.preprocess_logits_for_metrics = preprocess_logits_for_metrics
        self.optimizer, self.lr_scheduler = optimizers
        self.optimizer_cls_and_kwargs = optimizer_cls_and_kwargs
        self._given = (optimizers[0] is not None, optimizers[1] is not None)
        self._check_inputs()
        self.train_batch_size = args.train_batch_size
        self.is_in_train = self.stopped_by_signal = False
        self.current_gradient_accumulation_steps = args.gradient_accumulation_steps
        self._take_model(self.model)
        self.state, self.control = TrainerState(), TrainerControl()
        self.state.is_local_process_zero, self.state.is_world_process_zero = (
            self.is_local_process_zero(),
            self.is_world_process_zero(),
        )
        self.logbook, self.trackers = Logbook(args.output_dir), Trackers(self)
        self.callback_handler = CallbackHandler(self, [DefaultFlowCallback, *(callbacks or ())])
        plain = args.disable_tqdm or (args.disable_tqdm is None and not has_terminal())
        self.add_callback(PrinterCallback if plain else ProgressCallback)
        self.callback_handler.call("on_init_end")

    def _check_inputs(self) -> None:
        args = self.args
        if args.eval_strategy != "no" and self.eval_dataset is None:
            raise ConfigError(
                f"`eval_strategy` is `{args.eval_strategy}`, and there is no `eval_dataset`: give one, or set it to `no`."
            )
        if self.optimizer is not None and self.optimizer_cls_and_kwargs is not None:
            raise ConfigError("`optimizers` and `optimizer_cls_and_kwargs` exclude each other: give one.")
        if self.model_init is not None and any(self._given):
            raise ConfigError("`model_init` and `optimizers` exclude each other: an optimizer belongs to one model.")
        by_batch = args.batch_eval_metrics and self.compute_metrics is not None
        if by_batch and "compute_result" not in inspect.signature(self.compute_metrics).parameters:
            raise ConfigError("`batch_eval_metrics` calls `compute_metrics` with `compute_result`: give it that argument.")
        if self.optimizer is None and self.optimizer_cls_and_kwargs is None:
            optimizer_and_options(args)  # a name that nobody offers is an error now, not after the data was prepared
        for data, name in ((self.train_dataset, "train_dataset"), (self.eval_dataset, "eval_dataset")):
            if data is not None and has_length(data) and len(data) == 0:
                raise InputError(f"`{name}` is empty: it has no examples.")

    def _take_model(self, model: nn.Module) -> None:
        """Look at a model, and put it where it computes."""
        args = self.args
        name = type(inspected(model)).__name__
        takes = inspect.signature(type(inspected(model)).forward).parameters
        if getattr(model, "is_quantized", False) and not hasattr(model, "peft_config"):
            raise ConfigError(f"`{name}` is quantized: its weights cannot be trained. Add an adapter with peft and train that.")
        self.label_names = label_names_of(model) if args.label_names is None else args.label_names
        default = takes.get("return_loss")
        self.can_return_loss = default is not None and default.default is True
        self.model_accepts_loss_kwargs = takes_item_count(model)
        self._shifts_labels = shifts_labels(model)
        config = getattr(model, "config", None)
        problem = getattr(config, "problem_type", None)
        if args.label_smoothing_factor and problem in ("multi_label_classification", "regression"):
            raise ConfigError(
                f"`label_smoothing_factor` is for classes that exclude each other, and the model's problem is `{problem}`."
            )
        if config is not None and hasattr(config, "use_cache"):
            config.use_cache = args.use_cache
        self._custom_loss = type(self).compute_loss is not Trainer.compute_loss
        self._custom_loss_scales = self._custom_loss and _reads(type(self).compute_loss, "num_items_in_batch")
        self._flops_a_token: float | None = None
        self.model = self.model_wrapped = model
        self._prepared = ""
        placed = getattr(model, "hf_device_map", None)
        self.place_model_on_device = not (placed and len(set(placed.values())) > 1)
        if self.place_model_on_device and not getattr(model, "is_quantized", False):
            model.to(args.device)

    # -- training ------------------------------------------------------------------------------------------------------

    def train(
        self,
        resume_from_checkpoint: str | Path | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """Train, or go on from a checkpoint: True takes the newest whole one in `output_dir`.

        A resumed run goes on bit for bit as one that was never cut (one process). After SIGTERM the step is finished, the
        run saved, and the signal let through.

        Raises:
            CheckpointError: nothing to resume from. NonFiniteLossError: the loss is no number. SaveError: the disk is full.
        """
        if trial is not None:
            raise UnknownArgumentError(
                "`trial`: there is no hyperparameter search here; call `train` from the searching library."
            )
        wanted = self.args.resume_from_checkpoint if resume_from_checkpoint is None else resume_from_checkpoint
        self.args.check()
        self.is_in_train, self.stopped_by_signal = True, False
        embedding_hook = None
        try:
            if self.model_init is not None:
                set_seed(self.args.seed, deterministic=self.args.full_determinism)
                self._take_model(self.call_model_init())
                self.optimizer = self.lr_scheduler = None
            elif not self.args.fp16_full_eval and not self.args.bf16_full_eval and self.place_model_on_device:
                self.model.to(self.args.device)
            self._set_checkpointing()
            if self.args.neftune_noise_alpha is not None:
                embedding_hook = neftune(inspected(self.model).get_input_embeddings(), self.args.neftune_noise_alpha)
            saved = None
            if wanted is not None and wanted is not False:
                folder = resumable(wanted if isinstance(wanted, bool) else str(wanted), self.args.output_dir)
                saved = read_training(self, folder)
                load_weights(self.unwrapped_model(), folder)
            return self._run_with_batch_size(saved, ignore_keys_for_eval)
        finally:
            self.is_in_train = False
            if embedding_hook is not None:
                embedding_hook.remove()
            for callback in self.callback_handler.callbacks:
                if isinstance(callback, ProgressCallback):
                    callback.close()

    def _run_with_batch_size(self, saved: Saved | None, ignore_keys: list[str] | None) -> TrainOutput:
        if not self.args.auto_find_batch_size:
            return TrainingRun(self, saved, ignore_keys).run()
        from accelerate.utils import find_executable_batch_size

        start = saved.position.batch_size if saved is not None else self.train_batch_size

        def attempt(batch_size: int) -> TrainOutput:
            if batch_size != self.train_batch_size:
                notice(f"A batch of {self.train_batch_size} does not fit into memory: trying {batch_size}.")
            self.train_batch_size = batch_size
            if not self._given[0]:
                self.optimizer = None
            return TrainingRun(self, saved, ignore_keys).run()

        return find_executable_batch_size(attempt, starting_batch_size=start)()

    def _set_checkpointing(self) -> None:
        if not self.args.gradient_checkpointing:
            return
        enable = getattr(self.model, "gradient_checkpointing_enable", None)
        if enable is None:
            raise ConfigError(
                f"`gradient_checkpointing`: `{type(self.model).__name__}` has no `gradient_checkpointing_enable`."
            )
        options = self.args.gradient_checkpointing_kwargs
        enable(gradient_checkpointing_kwargs=options)

    def prepare_for_training(self, max_steps: int, saved: Saved | None) -> nn.Module:
        """Make what the loop needs, wrapped by accelerate, and put back what a checkpoint held. Returns the model to call."""
        if not self._given[1]:
            self.lr_scheduler = None  # its length is this run's
        self.optimizer = getattr(self.optimizer, "optimizer", self.optimizer)
        self.create_optimizer_and_scheduler(max_steps)
        self.accelerator._optimizers.clear()
        self._prepare_model(evaluation=False)
        self.optimizer = self.accelerator.prepare_optimizer(getattr(self.optimizer, "optimizer", self.optimizer))
        if saved is not None:
            saved.restore_optimizer(self)
            saved.restore_scheduler(self)
        self.model_wrapped.train()
        return self.model_wrapped

    def _prepare_model(self, *, evaluation: bool) -> None:
        """Have accelerate wrap the model, once: for evaluation alone it is not spread over processes."""
        if self._prepared == "training" or (evaluation and self._prepared):
            return
        if self._prepared and hasattr(self.model, "_original_forward"):
            self.model.forward = self.model._original_forward  # or precision would be wrapped twice
        self.accelerator._models.clear()
        self.model_wrapped = self.accelerator.prepare_model(self.model, evaluation_mode=evaluation)
        self._prepared = "evaluation" if evaluation else "training"

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None) -> Tensor:
        """Forward and backward for one batch. Returns its share of the step's loss, detached."""
        if not model.training:
            model.train()
        inner = getattr(self.optimizer, "optimizer", self.optimizer)
        if callable(getattr(inner, "train", None)):
            inner.train()
        inputs = self._prepare_inputs(inputs)
        self._loss_is_scaled = False
        loss = self.compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
        if not isinstance(loss, Tensor):
            raise InputError(f"`compute_loss` returned a `{type(loss).__name__}` and no tensor.")
        if loss.dim():
            loss = loss.mean()
        scaled = self.loss_is_scaled_for_ga
        if scaled is None:
            scaled = self._loss_is_scaled or self._custom_loss_scales
        if not scaled and self.current_gradient_accumulation_steps > 1:
            loss = loss / self.current_gradient_accumulation_steps
        self.accelerator.backward(loss)
        return loss.detach()

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The loss of a batch, and with `return_outputs` what the model returned beside it.

        With `num_items_in_batch`, the labels that count in all batches of the step, it is the batch's share of the step's mean: each
        label weighs the same, in whatever batch it is.
        """
        smoothing = self.args.label_smoothing_factor
        labels = inputs.get("labels") if smoothing or self.compute_loss_func is not None else None
        given = {name: value for name, value in inputs.items() if name != "labels"} if labels is not None else inputs
        own = labels is None and self.model_accepts_loss_kwargs and num_items_in_batch is not None
        outputs = model(**given, num_items_in_batch=num_items_in_batch) if own else model(**given)
        if self.compute_loss_func is not None:
            loss = self.compute_loss_func(outputs, labels, num_items_in_batch=num_items_in_batch)
            scaled = num_items_in_batch is not None
        elif labels is not None:
            loss = label_smoothed_loss(outputs, labels, smoothing, shift=self._shifts_labels, num_items=num_items_in_batch)
            scaled = num_items_in_batch is not None
        else:
            loss = self._loss_in(outputs, given)
            scaled = own
            if not own and num_items_in_batch is not None:
                loss, scaled = self._share(loss, outputs, given, num_items_in_batch), True
        if scaled and self.args.world_size > 1 and self.args.average_tokens_across_devices:
            loss = loss * self.args.world_size  # gradients are averaged over processes
        self._loss_is_scaled = scaled
        return (loss, outputs) if return_outputs else loss

    def _loss_in(self, outputs: Any, inputs: Mapping[str, Any]) -> Tensor:
        found = (
            outputs.get("loss")
            if isinstance(outputs, Mapping)
            else outputs[0]
            if isinstance(outputs, tuple | list)
            else outputs
        )
        if not isinstance(found, Tensor):
            raise InputError(
                f"`{type(self.model).__name__}` returned no loss for {', '.join(f'`{name}`' for name in inputs)}. Does the data have "
                f"its labels, called {' or '.join(f'`{name}`' for name in self.label_names) or '`labels`'}? Or give `compute_loss_func`."
            )
        return found

    def _share(self, loss: Tensor, outputs: Any, inputs: Mapping[str, Any], num_items: Tensor | int) -> Tensor:
        """From the mean over a batch to its part of the mean over the step."""
        (own,) = count_labels([inputs], self._shifts_labels) or (None,)
        if own is None:
            return loss / self.current_gradient_accumulation_steps
        if own == 0:
            # a mean over nothing is no number; this one has no part in the step
            logits = outputs["logits"] if isinstance(outputs, Mapping) else outputs[1]
            return logits.float().sum() * 0.0
        return loss * (own / num_items)

    def count_inputs(self, inputs: Any) -> None:
        """Add a batch to `total_flos` and, where that is asked for, to `num_input_tokens_seen`."""
        self.state.total_flos += self.floating_point_ops(inputs) * self.args.world_size
        wanted = self.args.include_num_input_tokens_seen
        main = inputs.get(getattr(self.model, "main_input_name", "input_ids")) if isinstance(inputs, Mapping) else None
        if wanted == "no" or not isinstance(main, Tensor):
            return
        tokens = torch.tensor(main.numel())
        if wanted == "non_padding":
            if isinstance(inputs.get("attention_mask"), Tensor):
                tokens = inputs["attention_mask"].sum()
            elif getattr(self.processing_class, "pad_token_id", None) is not None:
                tokens = (main != self.processing_class.pad_token_id).sum()
        self.state.num_input_tokens_seen += int(self.accelerator.gather(tokens.to(self.args.device)).sum())

    def floating_point_ops(self, inputs: Any) -> float:
        """An estimate for a batch, there and back: six operations for each token and parameter outside the embeddings."""
        own = getattr(self.model, "floating_point_ops", None)
        if callable(own):
            return float(own(inputs))
        if self._flops_a_token is None:
            skipped = {id(p) for m in self.model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
            self._flops_a_token = 6.0 * sum(p.numel() for p in self.model.parameters() if id(p) not in skipped)
        main = inputs.get(getattr(self.model, "main_input_name", "input_ids")) if isinstance(inputs, Mapping) else None
        return self._flops_a_token * main.numel() if isinstance(main, Tensor) else 0.0

    def call_model_init(self, trial: Any = None) -> nn.Module:
        """The model that `model_init` makes. Raises: InputError when that is none."""
        assert self.model_init is not None
        takes = inspect.signature(self.model_init).parameters.values()
        asks = any(each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD for each in takes)
        made = self.model_init(trial) if asks else self.model_init()
        if not isinstance(made, nn.Module):
            raise InputError(f"`model_init` returned a `{type(made).__name__}` and no model.")
        return made

    # -- evaluation ----------------------------------------------------------------------------------------------------

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Loss and metrics over a dataset, `eval_` in front of each name; of several datasets each under its own name too."""
        data = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(data, Mapping):
            metrics: dict[str, float] = {}
            for name, part in data.items():
                chosen = part if eval_dataset is not None else name
                metrics.update(self.evaluate(chosen, ignore_keys, f"{metric_key_prefix}_{name}"))
            return metrics
        loader = self.get_eval_dataloader(eval_dataset)
        started = time.perf_counter()
        loss_only = True if self.compute_metrics is None else None
        output = self.evaluation_loop(loader, "Evaluation", loss_only, ignore_keys, metric_key_prefix)
        self._add_speed(output, metric_key_prefix, started)
        self.log(output.metrics)
        self.callback_handler.call("on_evaluate", metrics=output.metrics)
        self.control.should_evaluate = False
        return output.metrics

    def predict(
        self, test_dataset: Any, ignore_keys: list[str] | None = None, metric_key_prefix: str = "test"
    ) -> PredictionOutput:
        """What the model returns beside the loss, labels, and metrics where there are labels: numpy arrays."""
        loader = self.get_test_dataloader(test_dataset)
        started = time.perf_counter()
        output = self.evaluation_loop(loader, "Prediction", None, ignore_keys, metric_key_prefix)
        self._add_speed(output, metric_key_prefix, started)
        self.callback_handler.call("on_predict", metrics=output.metrics)
        return PredictionOutput(output.predictions, output.label_ids, output.metrics)

    def _add_speed(self, output: EvalLoopOutput, prefix: str, started: float) -> None:
        batch = self.args.eval_batch_size * self.args.world_size
        output.metrics.update(
            speed_metrics(prefix, time.perf_counter() - started, output.num_samples, -(-output.num_samples // batch))
        )

    def evaluation_loop(
        self,
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """What `evaluate` and `predict` share: go through a loader, gather over processes, compute metrics."""
        return evaluation_loop(self, dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix)

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[Tensor | None, Any, Any]:
        """Loss, logits and labels of one batch; the last two None with `prediction_loss_only`, each None where there is none."""
        return prediction_step(self, model, inputs, prediction_loss_only, ignore_keys)

    def model_for_evaluation(self) -> nn.Module:
        """The model as it computes: in the precision of the run, or whole in half precision where that is asked for."""
        if self.is_in_train:
            return self.model_wrapped
        self._prepare_model(evaluation=True)
        if self.args.fp16_full_eval or self.args.bf16_full_eval:
            self.model.to(torch.float16 if self.args.fp16_full_eval else torch.bfloat16)
        return self.model_wrapped

    def _evaluate(self, ignore_keys: list[str] | None, skip_scheduler: bool = False) -> dict[str, float]:
        metrics = self.evaluate(ignore_keys=ignore_keys)
        if self.steps_on_metrics and not skip_scheduler:
            self.lr_scheduler.step(self._metric(metrics))
        return metrics

    def _metric(self, metrics: dict[str, float]) -> float:
        key = metric_key(self.args.metric_for_best_model or "loss")
        if key not in metrics:
            raise ConfigError(
                f"`metric_for_best_model` is `{key}`, which the evaluation does not give: it has {', '.join(metrics)}."
            )
        return metrics[key]

    def _determine_best_metric(self, metrics: dict[str, float]) -> bool:
        """Whether this evaluation is better than all before; the state remembers it."""
        if self.args.metric_for_best_model is None:
            return False
        value, best = self._metric(metrics), self.state.best_metric
        better = best is None or (value > best if self.args.greater_is_better else value < best)
        if better:
            self.state.best_metric, self.state.best_global_step = value, self.state.global_step
        return better


def _reads(function: Callable[..., Any], argument: str) -> bool:
    """Whether a function's own code reads one of its arguments."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code is not None and any(
        instruction.argval == argument or (isinstance(instruction.argval, tuple) and argument in instruction.argval)
        for instruction in dis.get_instructions(code)
        if instruction.opname.startswith("LOAD")
    )
