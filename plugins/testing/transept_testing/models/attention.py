"""Padding and kernels: what a token sees decides its output, and nothing else does."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from transept.discovery import registry
from transept.errors import TranseptError

from ..comparing import assert_gradients_equal, assert_to_scale, gradients, of_tokens, tensors_of
from ..refusing import refused
from .suite import Case, ModelSuite

__all__ = ["AttentionChecks", "assert_rows_are"]


class AttentionChecks(ModelSuite, standard=True):
    """Masks and kernels under every class."""

    @torch.no_grad()
    def test_a_padded_batch_is_its_sequences(self, case: Case, padding_side: str) -> None:
        model = self.model(case)
        batch, singles, places = self.padded(case, side=padding_side)
        alone = [model(**single) for single in singles]
        assert_rows_are(model(**batch), alone, places, self.tolerance, "in a padded batch")

    @torch.no_grad()
    def test_padding_itself_does_not_matter(self, head: Case, padding_side: str) -> None:
        model = self.model(head)
        batch, _, places = self.padded(head, side=padding_side)
        first = model(**batch)
        if head.task == "sequence_classification" and padding_side == "right" and not model.config.is_encoder_decoder:
            pytest.skip("decoders find a sequence's end by its padding token")
        ids = batch["input_ids"]
        other = self.ordinary_ids(model.config)[3]
        batch["input_ids"] = torch.where(batch["attention_mask"].bool(), ids, other)
        second = model(**batch)
        for row, place in enumerate(places):
            for name, tensor in tensors_of(second):
                expected = dict(tensors_of(first))[name]
                assert_to_scale(
                    of_tokens(tensor[row], 9, place),
                    of_tokens(expected[row], 9, place),
                    1e-6,
                    f"`{name}` with other ids at the padding",
                )

    @torch.no_grad()
    def test_kernels_give_the_same(self, case: Case, kernel: str) -> None:
        model = self.model(case)
        batches = [self.masked(case)]
        if "left" in self.padding_sides and self.reads_text:
            batch, _, places = self.padded(case, side="left")
            batches.append((batch, places))
        model.set_attention("eager")
        expected = [model(**batch) for batch, _ in batches]
        self.use_kernel(model, kernel)
        for (batch, places), output in zip(batches, expected, strict=True):
            found = dict(tensors_of(model(**batch)))
            for name, tensor in tensors_of(output):
                for row, place in enumerate(places):
                    ours, theirs = found[name][row], tensor[row]
                    if self.reads_text:
                        ours, theirs = of_tokens(ours, 9, place), of_tokens(theirs, 9, place)
                    assert_to_scale(ours, theirs, self.tolerance, f"`{name}` of the `{kernel}` kernel beside eager's")

    def test_kernels_give_the_same_gradients(self, trained_head: Case, kernel: str) -> None:
        head = trained_head
        if not registry.get("attention", kernel).training:
            pytest.skip(f"`{kernel}` passes no gradients, as its record says")
        model = self.model(head)
        batch, _ = self.masked(head)
        labels = self.labels(head, model, batch)
        if self.reads_text and "labels" in labels and labels["labels"].shape == batch["attention_mask"].shape:
            labels["labels"] = labels["labels"].masked_fill(batch["attention_mask"] == 0, -100)
        model.set_attention("eager")
        loss, expected = gradients(model, {**batch, **labels})
        self.use_kernel(model, kernel)
        again, found = gradients(model, {**batch, **labels})
        assert_to_scale(again, loss, self.tolerance, f"the loss of the `{kernel}` kernel beside eager's")
        assert_gradients_equal(found, expected, self.tolerance, f"of the `{kernel}` kernel beside eager's")

    @torch.no_grad()
    def test_an_attention_kernel_that_is_not_there(self, head: Case) -> None:
        model = self.model(head)
        before = [binding.implementation for _, binding in model.attention_layers()]
        assert before, "the model has no attention layer that a kernel could serve: build on `transept.nn.AttentionHeads`"
        with refused(TranseptError, "no_such_kernel", "bind attention through `transept.attention`"):
            model.set_attention("no_such_kernel")
        assert [binding.implementation for _, binding in model.attention_layers()] == before

    @torch.no_grad()
    def test_a_decoder_serves_an_encoders_states(self, cross_head: Case) -> None:
        model, inputs = self.model(cross_head, **self.cross_attention), self.inputs(cross_head)
        width = model.config.hidden_size
        states = torch.sin(torch.arange(2 * 7 * width).reshape(2, 7, width).float())
        mask = torch.ones(2, 7, dtype=torch.long)
        mask[1, 4:] = 0
        arguments: dict[str, Any] = {"encoder_hidden_states": states, "encoder_attention_mask": mask}
        found = model(**inputs, **arguments, output_attentions=True)
        assert found.cross_attentions is not None, "`output_attentions=True` brings no `cross_attentions`"
        assert found.cross_attentions[0].shape[-2:] == (inputs["input_ids"].shape[1], 7)
        assert not found.cross_attentions[0][1, ..., 4:].any(), "the decoder looks at encoder states that are masked"
        arguments = {"encoder_hidden_states": states[1:, :4]}
        alone = model(**{name: value[1:] for name, value in inputs.items()}, **arguments)
        for name, tensor in tensors_of(alone):
            assert_to_scale(dict(tensors_of(found))[name][1:], tensor, self.tolerance, f"`{name}` of a masked encoder")
        other = model(**inputs, encoder_hidden_states=states + 1)
        first = next(name for name, _ in tensors_of(other))
        assert not torch.allclose(other[first], found[first]), "the encoder's states change nothing"


def assert_rows_are(found: Any, alone: list[Any], places: list[slice], tolerance: float, what: str) -> None:
    """Each row of a padded batch's output equals its sequence's own, where its tokens stand."""
    tensors = dict(tensors_of(found))
    for row, (single, place) in enumerate(zip(alone, places, strict=True)):
        for name, expected in tensors_of(single):
            ours = tensors[name][row]
            for dim, (size, wanted) in enumerate(zip(ours.shape, expected[0].shape, strict=True)):
                if size != wanted:
                    ours = ours.narrow(dim, place.start, place.stop - place.start)
            assert_to_scale(ours, expected[0], tolerance, f"`{name}` of row {row} {what}")
