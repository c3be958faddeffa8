"""`num_parameters` counts what packed weights stand for, and a tied one once."""

from __future__ import annotations

import pytest

import transept


@pytest.mark.parametrize("asked", ["int8", "q4_0", "nf4", "hqq-4bit"])
def test_a_packed_model_has_as_many_parameters_as_the_float_one(peer_llama, asked) -> None:
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2}
    folder = peer_llama(tie_word_embeddings=True, **sizes)
    plain = transept.AutoModelForCausalLM.from_pretrained(folder)
    packed = transept.AutoModelForCausalLM.from_pretrained(folder, quantization_config=asked)
    assert packed.num_parameters() == plain.num_parameters()
    assert packed.num_parameters(exclude_embeddings=True) == plain.num_parameters(exclude_embeddings=True)
    assert packed.get_memory_footprint() < plain.get_memory_footprint()
