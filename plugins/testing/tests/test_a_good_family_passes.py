"""The kit passes a family that keeps every promise, each check of it."""

import pytest
from transept_testing import CausalLMConformance, ConfigConformance

TINY = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "pad_token_id": 0}
pytestmark = pytest.mark.usefixtures("toy")


class TestToyConfig(ConfigConformance):
    model_type = "toy"
    tiny = TINY
    wrong = ({"num_attention_heads": 5}, {"vocab_size": 0})


class TestToy(CausalLMConformance):
    model_type = "toy"
    tiny = TINY
    heads = ("base", "causal_lm", "sequence_classification")
    variants = {"untied": {"tie_word_embeddings": False}}  # noqa: RUF012
    golden = {"base": 0.761582, "causal_lm": -0.132291, "sequence_classification": -0.268976}  # noqa: RUF012
