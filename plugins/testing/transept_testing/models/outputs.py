"""A forward pass: shapes, what is asked of it, what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ..comparing import assert_outputs_equal, checksum, tensors_of
from ..refusing import refused
from .suite import Case, ModelSuite

__all__ = ["OutputChecks"]


class OutputChecks(ModelSuite, standard=True):
    """Outputs of every class, without anything to compare with."""

    @torch.no_grad()
    def test_outputs_are_finite(self, case: Case) -> None:
        inputs = self.inputs(case)
        found = dict(tensors_of(self.model(case)(**inputs)))
        assert found, "the output holds no tensor"
        batch = next(iter(inputs.values())).shape[0]
        for name, tensor in found.items():
            assert torch.isfinite(tensor).all(), (
                f"`{name}` holds NaN or infinity: look at masks, norms and uninitialised buffers"
            )
            assert tensor.shape[0] == batch, f"`{name}` has shape {tuple(tensor.shape)}: the batch of {batch} comes first"

    @torch.no_grad()
    def test_the_same_call_gives_the_same(self, head: Case) -> None:
        model, inputs = self.model(head), self.inputs(head)
        assert_outputs_equal(model(**inputs), model(**inputs), 0.0, "the second call")

    @torch.no_grad()
    def test_outputs_are_the_golden_ones(self) -> None:
        cases = [Case(task) for task in self.tasks()]
        found = {case.task: checksum(self.model(case)(**self.inputs(case))) for case in cases}
        if not self.golden:
            pytest.skip(f"no golden values; if you trust the outputs, store golden = {found}")
        assert found == pytest.approx(dict(self.golden), rel=1e-4, abs=1e-4), (
            f"unchanged weights give other outputs than they did. If that is meant, store golden = {found}"
        )

    @torch.no_grad()
    def test_nothing_is_read_back_from_a_device(self, head: Case) -> None:
        batch, _ = self.masked(head)
        model = self.model(head).to("meta")
        try:  # of a meta tensor no value can be read
            output = model(**{name: value.to("meta") for name, value in batch.items()})
        except (RuntimeError, NotImplementedError) as error:
            raise AssertionError(
                "`forward` looks at values of its tensors, which makes a device wait and breaks graphs: decide by shapes, or "
                "with `torch.where`"
            ) from error
        assert all(tensor.is_meta for _, tensor in tensors_of(output)), "an output is made on another device than its inputs"

    @torch.no_grad()
    def test_hidden_states_of_every_layer(self, head: Case) -> None:
        if not self.supports_hidden_states:
            pytest.skip("`supports_hidden_states` is False")
        model, inputs = self.model(head), self.inputs(head)
        assert not [name for name in model(**inputs) if "hidden_states" in name], (
            "hidden states are there that nobody asked for"
        )
        output = model(**inputs, output_hidden_states=True)
        found = {name: states for name, states in output.items() if name.endswith("hidden_states")}
        assert found, "`output_hidden_states=True` brings none: gather them with `transept.nn.OutputCollector`"
        for name, states in found.items():
            assert len(states) == self.layers(head, name) + 1, f"`{name}` has {len(states)}: one more than layers are expected"
            width = {tuple(state.shape) for state in states}
            assert len(width) == 1, f"`{name}` differ in shape: {width}"
        model.config.output_hidden_states = True
        assert_outputs_equal(model(**inputs), output, 0.0, "with `config.output_hidden_states`")

    @torch.no_grad()
    def test_attention_weights_of_every_layer(self, head: Case) -> None:
        if not self.supports_attention_weights:
            pytest.skip("`supports_attention_weights` is False")
        model, inputs = self.model(head), self.inputs(head)
        assert not [name for name in model(**inputs) if "attentions" in name], (
            "attention weights are there that nobody asked for"
        )
        output = model(**inputs, output_attentions=True)
        found = {name: weights for name, weights in output.items() if name.endswith("attentions")}
        assert found, "`output_attentions=True` brings none: pass `need_weights` on to the layers"
        for name, weights in found.items():
            assert len(weights) == self.layers(head, name), f"`{name}` has {len(weights)}: one a layer is expected"
            for layer, weight in enumerate(weights):
                sums = weight.sum(-1)
                torch.testing.assert_close(sums, torch.ones_like(sums), msg=lambda m, n=name, i=layer: f"`{n}[{i}]` rows: {m}")

    def layers(self, case: Case, output: str) -> int:
        """How many layers an output (`hidden_states`, `decoder_attentions`, `cross_attentions`, …) tells of."""
        config = self.config(case)
        decoder = output.startswith(("decoder_", "cross_"))
        if decoder:
            for name in ("num_decoder_layers", "decoder_layers"):
                if config.get(name) is not None:
                    return int(config.get(name))
        return int(config.num_hidden_layers)

    @torch.no_grad()
    def test_a_tuple_in_place_of_the_output(self, head: Case) -> None:
        model, inputs = self.model(head), self.inputs(head)
        asked: dict[str, Any] = {}
        if self.supports_hidden_states:
            asked["output_hidden_states"] = True
        output, found = model(**inputs, **asked), model(**inputs, **asked, return_dict=False)
        assert type(found) is tuple, f"`return_dict=False` gives a `{type(found).__name__}`: return `output.to_tuple()`"
        expected = [value for name, value in output.items() if name != "past_key_values"]
        kept = [value for value in found if not hasattr(value, "get_seq_length")]
        assert_outputs_equal(tuple(kept), tuple(expected), 0.0, "the tuple")
        model.config.return_dict = False
        assert type(model(**inputs)) is tuple, "`config.return_dict = False` is not heard: use `output_options`"

    def test_an_unknown_argument_is_refused(self, head: Case) -> None:
        model, inputs = self.model(head), self.inputs(head)
        with refused(TypeError, "attention_masks", "`forward` swallows an argument that it does not know: take no `**kwargs`"):
            model(**inputs, attention_masks=torch.ones(2, 9))

    @torch.no_grad()
    def test_embeddings_in_place_of_ids(self, text_head: Case) -> None:
        head = text_head
        if not self.supports_inputs_embeds or not self.takes(head, "inputs_embeds"):
            pytest.skip("the class takes no `inputs_embeds`")
        model, inputs = self.model(head), self.inputs(head)
        if head.task in ("sequence_classification", "question_answering") and model.config.is_encoder_decoder:
            pytest.skip("an encoder-decoder reads the decoder's input, or the end of the sequence, from the ids")
        embeds = {**inputs, "inputs_embeds": model.get_input_embeddings()(inputs["input_ids"]), "input_ids": None}
        assert_outputs_equal(model(**embeds), model(**inputs), 1e-6, "embeddings in place of ids")

    @torch.no_grad()
    def test_positions_may_be_given(self, text_head: Case) -> None:
        head = text_head
        if not self.takes(head, "position_ids"):
            pytest.skip("the class takes no `position_ids`")
        model, inputs = self.model(head), self.inputs(head)
        positions = self.first_position + torch.arange(inputs["input_ids"].shape[-1])[None]
        if head.task == "multiple_choice":
            positions = positions.expand_as(inputs["input_ids"])
        assert_outputs_equal(model(**inputs, position_ids=positions), model(**inputs), 1e-6, "with positions given")
        other = next(iter(dict(tensors_of(model(**inputs, position_ids=positions * 2))).values()))
        first = next(iter(dict(tensors_of(model(**inputs))).values()))
        assert not torch.equal(other, first), "`position_ids` change nothing"
