"""`CausalLMConformance`: however a text is decoded, it is the same text."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from .comparing import assert_to_scale
from .model import ModelConformance
from .models.decoding import assert_same_text, generate, make_cache, steps
from .models.generating import GeneratingChecks
from .models.suite import Case

__all__ = ["CausalLMConformance"]


class CausalLMConformance(GeneratingChecks, ModelConformance, standard=True):
    """The checks of `ModelConformance`, and those of a decoder that generates."""

    generating = ("causal_lm",)
    padding_sides = ("right", "left")

    @torch.no_grad()
    @pytest.mark.parametrize("sizes", [[1] * 9, [5, 1, 3]], ids=["one by one", "in pieces"])
    def test_steps_give_the_logits_of_one_pass(self, generator: Case, cache: str, sizes: list[int]) -> None:
        model, inputs = self.model(generator), self.inputs(generator)
        whole = model(**inputs, use_cache=False)
        assert whole.get("past_key_values") is None, "`use_cache=False` brings a cache"
        ids = inputs.pop("input_ids")
        found = steps(model, ids, sizes, make_cache(model, cache, 16, 2), **inputs)
        assert_to_scale(found, whole.logits, self.tolerance, f"logits with a {cache} cache")

    @torch.no_grad()
    def test_steps_over_left_padding(self, generator: Case, cache: str) -> None:
        if "left" not in self.padding_sides:
            pytest.skip("`padding_sides` has no left")
        model = self.model(generator)
        batch, singles, places = self.padded(generator, side="left")
        ids = batch.pop("input_ids")
        found = steps(model, ids, [6, 1, 2], make_cache(model, cache, 16, 2), **batch)
        for row, (single, place) in enumerate(zip(singles, places, strict=True)):
            alone = model(**single, use_cache=False).logits
            assert_to_scale(found[row : row + 1, place], alone, self.tolerance, f"row {row} of a padded batch, in steps")

    def test_text_of_a_left_padded_batch_is_that_of_each_prompt(self, generator: Case, cache: str) -> None:
        model = self.model(generator)
        batch, singles, _ = self.padded(generator, lengths=(9, 5, 1), side="left")
        together = generate(model, batch, cache_implementation=cache)
        for row, single in enumerate(singles):
            alone = generate(model, single, cache_implementation=cache)
            assert_same_text(together, alone, self.tolerance, f"prompt {row} of a batch", row)

    @torch.no_grad()
    def test_a_cropped_cache_goes_on_from_there(self, generator: Case, cache: str) -> None:
        model, inputs = self.model(generator), self.inputs(generator)
        whole = model(**inputs, use_cache=False).logits
        ids, made = inputs["input_ids"], make_cache(model, cache, 16, 2)
        model(**inputs, past_key_values=made, use_cache=True)
        rest = {name: value[:, 5:] for name, value in inputs.items()}
        for part in (ids[:, 5:].flip(1), ids[:, 5:]):  # what was tried and dropped leaves no trace
            made.crop(5)
            assert made.get_seq_length() == 5, f"cropped to 5 tokens, a {cache} cache holds {made.get_seq_length()}"
            found = model(**{**rest, "input_ids": part}, past_key_values=made, use_cache=True).logits
        assert_to_scale(found, whole[:, 5:], self.tolerance, f"after a {cache} cache was cropped")

    @torch.no_grad()
    @pytest.mark.parametrize("wanted", [1, 3, torch.tensor([0, 5])], ids=["the last", "three", "two positions"])
    def test_logits_of_some_positions(self, generator: Case, wanted: Any) -> None:
        if not self.takes(generator, "logits_to_keep"):
            pytest.skip("the class takes no `logits_to_keep`")
        model, inputs = self.model(generator), self.inputs(generator)
        places = slice(-wanted, None) if isinstance(wanted, int) else wanted
        found = model(**inputs, logits_to_keep=wanted).logits
        assert_to_scale(found, model(**inputs).logits[:, places], 1e-5, "logits of some positions")

    def test_text_from_embeddings_is_that_from_ids(self, generator: Case) -> None:
        if not self.supports_inputs_embeds:
            pytest.skip("`supports_inputs_embeds` is False")
        model, prompt = self.model(generator), self.prompt(generator)
        expected = generate(model, prompt)
        embeds = {**prompt, "inputs_embeds": model.get_input_embeddings()(prompt["input_ids"]).detach()}
        del embeds["input_ids"]
        assert_same_text(generate(model, embeds), expected, self.tolerance, "text from embeddings")
