"""Losses and gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ..comparing import assert_gradients_equal, gradients
from .suite import Case, ModelSuite

__all__ = ["TrainingChecks"]


class TrainingChecks(ModelSuite, standard=True):
    """What training needs of every class."""

    def _training(self, case: Case) -> tuple[Any, dict[str, Any]]:
        """A model in training mode and a call that gives a loss."""
        model, inputs = self.model(case), self.inputs(case)
        labels = self.labels(case, model, inputs)
        if model.config.get("use_cache") is not None:
            model.config.use_cache = False  # training has no use for one
        return model.train(), {**inputs, **labels}

    def test_a_loss_reaches_every_parameter(self, trained_case: Case) -> None:
        model, inputs = self._training(trained_case)
        loss, found = gradients(model.eval(), inputs)
        assert loss.dim() == 0, f"the loss has shape {tuple(loss.shape)}"
        assert torch.isfinite(loss), f"the loss is {float(loss)}"
        missed = [name for name, _ in model.named_parameters() if name not in found and not self.unused(trained_case, name)]
        assert not missed, f"no gradient reaches {missed}: they are not used, or detached"
        broken = [name for name, gradient in found.items() if not torch.isfinite(gradient).all()]
        assert not broken, f"gradients of {broken} hold NaN or infinity"

    def unused(self, case: Case, parameter: str) -> bool:
        """Whether a class carries this parameter without using it for its loss, as the checkpoint's layout asks."""
        return False

    def test_a_loss_goes_down(self, trained_head: Case) -> None:
        model, inputs = self._training(trained_head)
        model.eval()  # no dropout: each step is on the same function
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
        losses = []
        for _ in range(4):
            optimizer.zero_grad()
            loss = model(**inputs).loss
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < losses[0], f"four steps of gradient descent lead from {losses[0]} to {losses[-1]}"

    @pytest.mark.parametrize("reentrant", [False, True], ids=["", "reentrant"])
    def test_recomputed_gradients_are_the_same(self, trained_case: Case, reentrant: bool) -> None:
        if not self.supports_gradient_checkpointing:
            pytest.skip("`supports_gradient_checkpointing` is False")
        model, inputs = self._training(trained_case)
        model.enable_input_require_grads()  # without it a reentrant checkpoint passes nothing on
        torch.manual_seed(7)
        loss, expected = gradients(model, inputs)
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        assert model.is_gradient_checkpointing, "no layer took the flag: derive the repeated layer from `CheckpointedLayer`"
        torch.manual_seed(7)
        again, found = gradients(model, inputs)
        assert torch.equal(again, loss), "the loss is another with recomputation: dropout draws anew, or a layer keeps state"
        assert_gradients_equal(found, expected, 1e-5, "recomputed")
        model.gradient_checkpointing_disable()
        assert not model.is_gradient_checkpointing

    def test_a_fraction_of_a_batch_keeps_its_share(self, trained_head: Case) -> None:
        if not self.takes(trained_head, "num_items_in_batch"):
            pytest.skip("the class takes no `num_items_in_batch`")
        model, inputs = self._training(trained_head)
        model.eval()
        whole, doubled = model(**inputs, num_items_in_batch=8).loss, model(**inputs, num_items_in_batch=16).loss
        torch.testing.assert_close(whole, 2 * doubled)
