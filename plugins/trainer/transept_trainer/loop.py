"""The training loop: epochs, steps, what is done after each, and how a run begins in the middle."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from typing import TYPE_CHECKING, Any

import torch

from transept.errors import ConfigError, InputError

from .callbacks import TrainerState
from .checkpoint import Position, Saved, inner_optimizer
from .data import has_length
from .failures import NonFiniteLossError, naming_the_batch, not_finite
from .names import SaveStrategy
from .notices import notice
from .results import TrainOutput, speed_metrics
from .saving import load_best_model, save_checkpoint
from .stopping import stopping_on_sigterm

if TYPE_CHECKING:
    from .trainer import Trainer

__all__ = ["Plan", "TrainingRun"]


class Plan:
    """How long a run is, from its loader and arguments."""

    def __init__(self, trainer: Trainer, loader: Any) -> None:
        args = trainer.args
        self.batches = len(loader) if has_length(loader) else None
        """Batches an epoch, where that is known."""
        if self.batches == 0:
            raise InputError(
                "There are no whole batches: the data has fewer examples than a batch, and `dataloader_drop_last` is set."
            )
        if self.batches is None:
            if args.max_steps < 0:
                raise ConfigError("The training data has no length: set `max_steps`.")
            self.max_steps, self.epochs, self.steps_per_epoch = args.max_steps, sys.maxsize, args.max_steps
        else:
            self.steps_per_epoch = math.ceil(self.batches / args.gradient_accumulation_steps)
            if args.max_steps > 0:
                self.max_steps = args.max_steps
                self.epochs = math.ceil(args.max_steps / self.steps_per_epoch)
            else:
                self.max_steps = math.ceil(args.num_train_epochs * self.steps_per_epoch)
                self.epochs = math.ceil(args.num_train_epochs)
        self.batches_for_epoch = self.batches or self.max_steps * args.gradient_accumulation_steps
        """What the part of an epoch that is done is counted in."""
        self.batch_size = trainer.train_batch_size * args.gradient_accumulation_steps * args.world_size
        """Examples a step."""


class TrainingRun:
    """One call of `train`."""

    def __init__(self, trainer: Trainer, saved: Saved | None, ignore_keys: list[str] | None) -> None:
        self.trainer, self.saved, self.ignore_keys = trainer, saved, ignore_keys
        self.position = saved.position if saved is not None else Position()
        self.stop_asked: Any = None
        self.rows: list[int] = []

    # -- the whole -----------------------------------------------------------------------------------------------------

    def run(self) -> TrainOutput:
        trainer = self.trainer
        self.loader = trainer.get_train_dataloader()
        self.plan = Plan(trainer, self.loader)
        self._begin_state()
        self.model = trainer.prepare_for_training(self.plan.max_steps, self.saved)
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        if self.saved is not None:
            self.saved.restore_callbacks(trainer)
        trainer.callback_handler.train_dataloader = self.loader
        self.started, self.first_step = time.perf_counter(), trainer.state.global_step
        self.first_total = self.position.total_loss + self.position.loss_sum
        self._zero_grad()
        trainer.logbook.begin(trainer.state.log_history)
        trainer.callback_handler.call("on_train_begin")
        if trainer.args.eval_on_start and self.saved is None:
            trainer._evaluate(self.ignore_keys, skip_scheduler=True)
        with stopping_on_sigterm(enabled=trainer.args.enable_jit_checkpoint) as self.stop_asked:
            self._epochs()
            output = self._finish()
        return output

    def _begin_state(self) -> None:
        trainer, plan, args = self.trainer, self.plan, self.trainer.args
        state = self.saved.state if self.saved is not None else TrainerState()
        if state.best_model_checkpoint is not None:
            best = trainer.checkpoint_folder(state.best_global_step or 0)
            state.best_model_checkpoint = str(best) if best.is_dir() else None
        state.train_batch_size = trainer.train_batch_size
        state.max_steps, state.num_train_epochs = plan.max_steps, min(plan.epochs, 10**9)
        state.is_local_process_zero, state.is_world_process_zero = (
            trainer.is_local_process_zero(),
            trainer.is_world_process_zero(),
        )
        state.compute_steps(args, plan.max_steps)
        trainer.state = state
        position = self.position
        position.batch_size, position.processes, position.order_seed = (
            trainer.train_batch_size,
            args.world_size,
            args.order_seed,
        )
        position.last_logged = min(position.last_logged, state.global_step)

    def _epochs(self) -> None:
        trainer, position = self.trainer, self.position
        control = trainer.control
        if trainer.state.global_step >= self.plan.max_steps:
            control.should_training_stop = True
            return
        if self.saved is not None and position.epoch_ended:
            self.saved.restore_randomness(trainer)
        while position.epoch < self.plan.epochs:
            if position.epoch_ended:
                position.epoch, position.batch, position.epoch_ended = position.epoch + 1, 0, False
                continue
            trainer.callback_handler.call("on_epoch_begin")
            self._epoch()
            if trainer.control.should_training_stop:
                break

    def _epoch(self) -> None:
        trainer, position, plan = self.trainer, self.position, self.plan
        set_epoch = getattr(self.loader, "set_epoch", None)
        begin = position.batch
        if hasattr(self.loader, "rows_of"):
            set_epoch(position.epoch, begin)
            batches = iter(self.loader)
        else:  # a loader of the user's own
            if set_epoch is not None:
                set_epoch(position.epoch)
            batches = iter(self.loader)
            for _ in range(begin):
                next(batches, None)
        if self.saved is not None:
            # once, where the run was cut: what was drawn since then on the way here does not count
            self.saved.restore_randomness(trainer)
            self.saved = None
        accumulate = trainer.args.gradient_accumulation_steps
        came = False
        while True:
            count = accumulate if plan.batches is None else min(accumulate, plan.batches - position.batch)
            if count <= 0:
                break
            with naming_the_batch(self, position.batch):
                taken, num_items = trainer.get_batch_samples(batches, count)
            if not taken:
                break
            came = True
            self._step(taken, num_items)
            if trainer.control.should_training_stop or trainer.control.should_epoch_stop:
                break
        if not came and begin == 0:
            if position.epoch == 0:
                raise InputError("The training data is empty: it brought no examples.")
            notice(
                f"The training data brought nothing in epoch {position.epoch}: an iterable that can be gone through only once?"
            )
            trainer.control.should_training_stop = True
        if trainer.stopped_by_signal:
            return
        position.epoch_ended = True
        trainer.callback_handler.call("on_epoch_end")
        self._log_evaluate_save()

    # -- one step ------------------------------------------------------------------------------------------------------

    def _step(self, batches: list[Any], num_items: Any) -> None:
        trainer, position, state = self.trainer, self.position, self.trainer.state
        args, accelerator, handler = trainer.args, trainer.accelerator, trainer.callback_handler
        handler.call("on_step_begin")
        trainer.current_gradient_accumulation_steps = len(batches)
        losses = []
        for place, inputs in enumerate(batches):
            is_last = place + 1 == len(batches)
            accelerator.gradient_state._set_sync_gradients(is_last)
            with naming_the_batch(self, position.batch + place), self._sync(is_last):
                losses.append(trainer.training_step(self.model, inputs, num_items))
            trainer.count_inputs(inputs)
            if not is_last:
                handler.call("on_substep_end")
        grad_norm = self._clip()
        loss = self._loss_of_step(losses, grad_norm, batches)
        handler.call("on_pre_optimizer_step")
        self._optimize()
        handler.call("on_optimizer_step")
        position.learning_rate = trainer._get_learning_rate()
        if not accelerator.optimizer_step_was_skipped and not trainer.steps_on_metrics:
            trainer.lr_scheduler.step()
        self._zero_grad()
        if args.torch_empty_cache_steps is not None and (state.global_step + 1) % args.torch_empty_cache_steps == 0:
            torch.cuda.empty_cache()
        position.batch += len(batches)
        position.loss_sum += loss
        state.global_step += 1
        state.epoch = position.epoch + position.batch / self.plan.batches_for_epoch
        state.live_loss = loss
        handler.call("on_step_end")
        if self.stop_asked is not None and self.stop_asked():
            trainer.stopped_by_signal = trainer.control.should_training_stop = trainer.control.should_save = True
        self._log_evaluate_save()

    def _sync(self, is_last: bool) -> Any:
        """Gradients cross processes with the last batch of a step alone."""
        accelerator = self.trainer.accelerator
        if is_last or accelerator.num_processes == 1 or accelerator.gradient_state.plugin_kwargs.get("sync_each_batch", False):
            return contextlib.nullcontext()
        return accelerator.no_sync(self.model)

    def _clip(self) -> Any:
        """Gradients in their true scale, no longer than `max_grad_norm`; returns their norm before that."""
        trainer = self.trainer
        if trainer.accelerator.scaler is not None:
            trainer.accelerator.unscale_gradients()
        longest = trainer.args.max_grad_norm or math.inf
        # accelerate's own looks at every parameter for shards; there are none here
        return torch.nn.utils.clip_grad_norm_(self.parameters, longest)

    def _optimize(self) -> None:
        optimizer = self.trainer.optimizer
        if self.trainer.accelerator.scaler is None:
            # what the wrapper adds is for scaled gradients, and it looks for other optimizers' packages at each step
            optimizer = inner_optimizer(self.trainer)
        optimizer.step()

    def _zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    def _loss_of_step(self, losses: list[torch.Tensor], grad_norm: Any, batches: list[Any]) -> float:
        """The step's loss, once it and the gradient are known to be numbers.

        Raises: NonFiniteLossError, after the state before this step was saved.
        """
        trainer, args = self.trainer, self.trainer.args
        checked = args.stop_on_nan
        if len(losses) == 1 and losses[0].device.type == "cpu":
            loss, norm = losses[0].item(), float(grad_norm)
        else:
            # one transfer for all of them
            *parts, norm = torch.stack([*(one.float() for one in losses), torch.as_tensor(grad_norm).float()]).tolist()
            loss = sum(parts)
        bad_loss = not math.isfinite(loss)
        # scaled gradients overflow now and then: the scaler leaves such a step out
        bad_gradient = not math.isfinite(norm) and trainer.accelerator.scaler is None
        if checked and (bad_loss or bad_gradient):
            self._zero_grad()
            place = next((i for i, one in enumerate(losses) if not math.isfinite(one.item())), 0)
            folder = trainer.checkpoint_folder(trainer.state.global_step)
            if args.world_size > 1 or not folder.exists():
                save_checkpoint(trainer, self.position, rotating=False)
            raise NonFiniteLossError(**not_finite(self, batches[place], self.position.batch + place, loss, norm, folder))
        self.position.grad_norm = norm
        if bad_loss and args.logging_nan_inf_filter:
            done = trainer.state.global_step - self.position.last_logged
            return self.position.loss_sum / (1 + done)
        return loss

    # -- between steps -------------------------------------------------------------------------------------------------

    def _log_evaluate_save(self) -> None:
        trainer, position, state = self.trainer, self.position, self.trainer.state
        if trainer.control.should_log and state.global_step > position.last_logged:
            steps = state.global_step - position.last_logged
            logs = {"loss": position.loss_sum / steps}
            logs |= {"grad_norm": position.grad_norm, "learning_rate": position.learning_rate}
            position.total_loss += position.loss_sum
            position.loss_sum, position.last_logged = 0.0, state.global_step
            trainer.log(logs, self.started)
        if trainer.control.should_evaluate:
            metrics = trainer._evaluate(self.ignore_keys)
            is_best = trainer._determine_best_metric(metrics)
            if trainer.args.save_strategy == SaveStrategy.BEST:
                trainer.control.should_save = is_best or trainer.stopped_by_signal
        if trainer.control.should_save:
            save_checkpoint(trainer, position)
            trainer.control.should_save = False
            trainer.callback_handler.call("on_save")

    def _finish(self) -> TrainOutput:
        trainer, position, state = self.trainer, self.position, self.trainer.state
        steps = state.global_step - self.first_step
        total = position.total_loss + position.loss_sum - self.first_total
        loss = total / max(steps, 1)
        seconds = time.perf_counter() - self.started
        metrics = speed_metrics("train", seconds, steps * self.plan.batch_size, steps)
        metrics |= {"total_flos": state.total_flos, "train_loss": loss}
        if not trainer.stopped_by_signal:
            trainer.log(metrics)
            if trainer.args.load_best_model_at_end:
                load_best_model(trainer)
        trainer.logbook.draw(state.log_history)
        trainer.callback_handler.call("on_train_end")
        return TrainOutput(state.global_step, loss, metrics)
