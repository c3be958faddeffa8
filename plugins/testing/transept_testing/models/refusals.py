"""Bad input: one clear error for each kind of it."""

from __future__ import annotations

import pytest
import torch

import transept.auto
from transept.errors import TranseptError, UnsupportedTaskError

from ..refusing import refused
from .suite import Case, ModelSuite

__all__ = ["RefusalChecks"]


class RefusalChecks(ModelSuite, standard=True):
    """What every class must refuse, with words that help."""

    @torch.no_grad()
    @pytest.mark.parametrize("which", ["one past the last", "negative"])
    def test_ids_outside_the_vocabulary(self, text_head: Case, which: str) -> None:
        head = text_head
        model, inputs = self.model(head), self.inputs(head)
        size = model.get_input_embeddings().weight.shape[0]
        wrong = size if which == "one past the last" else -1
        inputs["input_ids"] = inputs["input_ids"].clone()
        inputs["input_ids"][..., 1] = wrong
        with refused(TranseptError, str(wrong), "look ids up with `transept.nn.embed_tokens`, which says which id it was"):
            model(**inputs)

    @torch.no_grad()
    @pytest.mark.parametrize("shape", ["no sequence", "no token"])
    def test_an_empty_batch(self, text_head: Case, shape: str) -> None:
        head = text_head
        model, inputs = self.model(head), self.inputs(head)
        empty = {
            name: value[:0] if shape == "no sequence" else value[..., :0] if name != "mc_token_ids" else value
            for name, value in inputs.items()
        }
        with refused(TranseptError, "shape", "look ids up with `transept.nn.embed_tokens`, which refuses empty ones"):
            model(**empty)

    @torch.no_grad()
    def test_a_sequence_past_the_last_position(self, bounded_head: Case) -> None:
        head, model = bounded_head, self.model(bounded_head)
        longest = int(model.config.get(str(self.position_table))) - self.first_position
        fits = self.inputs(head, length=longest)
        if "decoder_input_ids" in fits:
            fits["decoder_input_ids"] = fits["decoder_input_ids"][:, :5]
        model(**fits)
        inputs = self.inputs(head, length=longest + 1)
        with refused(TranseptError, str(longest), f"say that the sequence is longer than `{self.position_table}`"):
            model(**inputs)

    @torch.no_grad()
    def test_a_mask_of_another_shape(self, text_head: Case) -> None:
        head = text_head
        model, inputs = self.model(head), self.inputs(head)
        if head.task == "multiple_choice":
            pytest.skip("the choices' mask is folded before it is looked at")
        with refused(TranseptError, "attention_mask", "make the mask with `self.attention_mask_for`, which checks it"):
            model(**inputs, attention_mask=torch.ones(2, 4))

    @torch.no_grad()
    def test_ids_and_embeddings_together(self, text_head: Case) -> None:
        head = text_head
        if not self.supports_inputs_embeds or not self.takes(head, "inputs_embeds"):
            pytest.skip("the class takes no `inputs_embeds`")
        model, inputs = self.model(head), self.inputs(head)
        embeds = model.get_input_embeddings()(inputs["input_ids"])
        with refused(TranseptError, "inputs_embeds", "look ids up with `transept.nn.embed_tokens`, which takes one of the two"):
            model(**inputs, inputs_embeds=embeds)

    def test_labels_of_another_shape(self, trained_head: Case) -> None:
        model, inputs = self.model(trained_head), self.inputs(trained_head)
        labels = self.labels(trained_head, model, inputs)
        labels = {name: torch.cat((value, value)) for name, value in labels.items()}
        with refused(TranseptError, "shape", "take losses from `transept.nn`, which compare shapes"):
            model(**inputs, **labels)

    def test_a_task_that_the_family_lacks(self) -> None:
        record = self.record()
        doors = [getattr(transept.auto, name) for name in transept.auto.__all__ if name.startswith("AutoModel")]
        lacking = next((door for door in doors if door.task not in record.tasks), None)
        if lacking is None:
            pytest.skip("the family has a class for every task")
        config = self.config(Case(self.tasks()[0]))
        with refused(UnsupportedTaskError, "It has `AutoModel", "the registry says so by itself: look at the record's `tasks`"):
            lacking.from_config(config)

    def test_a_load_without_a_configuration_of_the_family(self) -> None:
        from transept.configuration import PretrainedConfig

        kind = self.model_class(Case(self.tasks()[0]))
        with refused(TranseptError, "from_pretrained", "call `super().__init__(config)` first"):
            kind("a-name")
        assert issubclass(kind.config_class, PretrainedConfig)
