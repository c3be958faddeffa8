"""`Seq2SeqConformance`: an encoder's states, a decoder in steps, and the text that comes of them."""

from __future__ import annotations

import pytest
import torch

from .comparing import assert_outputs_equal, assert_to_scale
from .model import ModelConformance
from .models.decoding import assert_same_text, generate, make_cache, steps
from .models.generating import GeneratingChecks
from .models.suite import Case

__all__ = ["Seq2SeqConformance"]


class Seq2SeqConformance(GeneratingChecks, ModelConformance, standard=True):
    """The checks of `ModelConformance`, and those of an encoder–decoder that generates."""

    generating = ("seq2seq_lm",)

    @torch.no_grad()
    def test_the_encoders_states_may_be_given(self, generator: Case) -> None:
        model, inputs = self.model(generator), self.inputs(generator)
        encoded = model.get_encoder()(inputs[self.main_input(generator)])
        given = model(encoder_outputs=encoded, decoder_input_ids=inputs["decoder_input_ids"], use_cache=False)
        assert_outputs_equal(given, model(**inputs, use_cache=False), 1e-6, "with the encoder's states given")

    @torch.no_grad()
    @pytest.mark.parametrize("sizes", [[1] * 7, [4, 1, 2]], ids=["one by one", "in pieces"])
    def test_steps_give_the_logits_of_one_pass(self, generator: Case, cache: str, sizes: list[int]) -> None:
        model, inputs = self.model(generator), self.inputs(generator)
        whole = model(**inputs, use_cache=False)
        assert whole.get("past_key_values") is None, "`use_cache=False` brings a cache"
        encoded = model.get_encoder()(inputs[self.main_input(generator)])
        made = make_cache(model, cache, 16, 2)
        ids = inputs["decoder_input_ids"]
        found = steps(model, ids, sizes, made, name="decoder_input_ids", encoder_outputs=encoded)
        assert_to_scale(found, whole.logits, self.tolerance, f"logits with a {cache} cache")
        keys = made.cross_attention_cache.layers[0].keys
        assert keys.shape[2] == encoded[0].shape[1], (
            f"the cross-attention cache holds {keys.shape[2]} keys: not the encoder's, once"
        )

    @torch.no_grad()
    def test_steps_over_encoder_padding(self, generator: Case, cache: str) -> None:
        if not self.reads_text:
            pytest.skip("`reads_text` is False")
        model = self.model(generator)
        batch, singles, _ = self.padded(generator)
        mask = batch["attention_mask"]
        encoded = model.get_encoder()(batch["input_ids"], attention_mask=mask)
        ids = batch["decoder_input_ids"]
        sizes = [2] + [1] * (ids.shape[1] - 2)
        found = steps(
            model,
            ids,
            sizes,
            make_cache(model, cache, 16, 2),
            name="decoder_input_ids",
            encoder_outputs=encoded,
            attention_mask=mask,
        )
        for row, single in enumerate(singles):
            alone = model(**single, use_cache=False).logits
            assert_to_scale(found[row : row + 1], alone, self.tolerance, f"row {row} of a padded batch, in steps")

    @torch.no_grad()
    def test_labels_make_the_decoders_input(self, generator: Case) -> None:
        model, inputs = self.model(generator), self.inputs(generator)
        labels = inputs.pop("decoder_input_ids").clone()
        labels[0, -1] = -100
        config = model.config
        start = torch.full_like(labels[:, :1], config.decoder_start_token_id)
        shifted = torch.cat((start, labels[:, :-1]), 1)
        shifted = shifted.masked_fill(shifted == -100, config.pad_token_id)
        from_labels = model(**inputs, labels=labels, use_cache=False)
        explicit = model(**inputs, decoder_input_ids=shifted, labels=labels, use_cache=False)
        assert_outputs_equal(from_labels, explicit, 1e-6, "decoder input made of labels")

    def test_text_of_a_padded_batch_is_that_of_each_prompt(self, generator: Case, cache: str, padding_side: str) -> None:
        model = self.model(generator)
        batch, singles, _ = self.padded(generator, lengths=(9, 5, 4), side=padding_side)
        batch = {name: batch[name] for name in ("input_ids", "attention_mask")}
        together = generate(model, batch, cache_implementation=cache)
        for row, single in enumerate(singles):
            alone = generate(model, {"input_ids": single["input_ids"]}, cache_implementation=cache)
            assert_same_text(together, alone, self.tolerance, f"prompt {row} of a batch", row)
