"""The configuration has no field for the size of a head, and files may say it all the same."""

import pytest
import torch
import transformers
from transept_qwen2.configuration import Qwen2Config
from transept_qwen2.modeling import Qwen2ForCausalLM

from transept.errors import ConfigError

SMALL = {
    "vocab_size": 97,
    "hidden_size": 30,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
IDS = torch.tensor([[3, 4, 5, 6, 7]])


@torch.no_grad()
def test_a_head_dim_of_a_file_is_heeded(tmp_path):
    peer = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**SMALL, head_dim=20)).eval()
    peer.save_pretrained(tmp_path)
    ours = Qwen2ForCausalLM.from_pretrained(tmp_path)
    assert ours.model.layers[0].self_attn.q_proj.out_features == 80
    torch.testing.assert_close(ours(IDS).logits, peer(IDS).logits, rtol=1e-4, atol=1e-5)


def test_without_one_heads_share_the_stream():
    with pytest.raises(ConfigError, match="`hidden_size` of `Qwen2Config` is 30, no multiple"):
        Qwen2Config(**SMALL)
