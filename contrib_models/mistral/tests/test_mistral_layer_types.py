"""Files of Mistral's shape that name a type for each layer."""

import pytest
import torch
from transept_mistral.configuration import MistralConfig
from transept_mistral.modeling import MistralModel

from transept.errors import ConfigError

SMALL = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "sliding_window": 3,
    "layer_types": ["full_attention", "sliding_attention"] * 2,
}
IDS = torch.tensor([[3, 4, 5, 6, 7, 8]])


@torch.no_grad()
def test_masks_and_caches_heed_them():
    model = MistralModel(MistralConfig.from_dict(SMALL)).eval()
    output = model(IDS, output_attentions=True)
    assert model.layer_windows == [None, 3, None, 3]
    assert [layer.is_sliding for layer in output.past_key_values.layers] == [False, True, False, True]
    assert [bool(weights[0, 0, 5, 2]) for weights in output.attentions] == [True, False, True, False]
    assert MistralModel(MistralConfig.from_dict({**SMALL, "layer_types": None})).layer_windows == [3] * 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_hidden_layers": 2}, "`layer_types` of `MistralConfig` has 4 entries, and `num_hidden_layers` is 2"),
        ({"sliding_window": None}, "has `sliding_attention`, and `sliding_window` is None"),
        ({"layer_types": ["chunked_attention"] * 4}, "has `chunked_attention`; its layers may be `full_attention`"),
    ],
)
def test_those_that_do_not_fit_are_refused(change, words):
    with pytest.raises(ConfigError, match=words):
        MistralConfig.from_dict({**SMALL, **change})
