"""`model.quantize(...)` on a live model gives what loading with it gives, native products included where they apply themselves."""

from __future__ import annotations

import pytest
import torch

import transept
from transept.errors import QuantizationError

SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2}
IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.mark.parametrize("automatic", [True, False])
def test_a_live_model_is_as_a_loaded_one(peer_llama, automatic) -> None:
    folder = peer_llama(**SIZES)
    loaded = transept.AutoModelForCausalLM.from_pretrained(folder, quantization_config="int8", automatic_rewrites=automatic)
    live = transept.AutoModelForCausalLM.from_pretrained(folder, automatic_rewrites=automatic).quantize("int8")
    kinds = {type(module) for module in loaded.modules()}
    assert {type(module) for module in live.modules()} == kinds
    with torch.no_grad():
        assert torch.equal(live(input_ids=IDS).logits, loaded(input_ids=IDS).logits)
    with pytest.raises(QuantizationError, match="already"):
        live.quantize("int8")


def test_a_failed_quantization_leaves_the_model_as_it_was(peer_llama) -> None:
    model = transept.AutoModelForCausalLM.from_pretrained(peer_llama())  # 48 columns, which groups of 32 do not divide
    with torch.no_grad():
        before = model(input_ids=IDS).logits
        with pytest.raises(QuantizationError, match="48"):
            model.quantize("int8")
        assert torch.equal(model(input_ids=IDS).logits, before)
    assert model.config.quantization_config is None
