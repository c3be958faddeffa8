"""What is GPT-NeoX's own: the head's name on disk, older names of rotary fields, the established order of arguments."""

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transept_gpt_neox.configuration import GPTNeoXConfig
from transept_gpt_neox.heads import GPTNeoXForQuestionAnswering, GPTNeoXForTokenClassification
from transept_gpt_neox.modeling import GPTNeoXForCausalLM, GPTNeoXModel

from transept.errors import InputError

SMALL = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
    "pad_token_id": 0,
}
IDS = torch.tensor([[3, 4, 5, 6, 7]])


@pytest.fixture
def model():
    torch.manual_seed(0)
    return GPTNeoXForCausalLM(GPTNeoXConfig(**SMALL)).eval()


@torch.no_grad()
@pytest.mark.parametrize("name", ["embed_out.weight", "lm_head.weight"])
def test_the_heads_name_on_disk_is_the_checkpoints_and_both_are_read(model, name, tmp_path):
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    assert "embed_out.weight" in tensors
    assert "lm_head.weight" not in tensors
    tensors[name] = tensors.pop("embed_out.weight")
    # as files of older versions have it
    tensors["gpt_neox.layers.0.attention.bias"] = torch.ones(1, 1, 64, 64, dtype=torch.bool)
    tensors["gpt_neox.layers.0.attention.masked_bias"] = torch.tensor(-1e9)
    tensors["gpt_neox.layers.1.attention.rotary_emb.inv_freq"] = torch.ones(1)
    save_file(tensors, file, metadata={"format": "pt"})
    loaded, info = GPTNeoXForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert torch.equal(loaded(IDS).logits, model(IDS).logits)
    peer = transformers.GPTNeoXForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(peer(IDS).logits, loaded(IDS).logits, rtol=1e-4, atol=1e-5)


def test_older_names_of_rotary_fields_are_read_and_never_written():
    config = GPTNeoXConfig.from_dict({**SMALL, "rotary_pct": 0.5, "rotary_emb_base": 25000})
    assert config.rope_parameters == {"rope_type": "default", "rope_theta": 25000, "partial_rotary_factor": 0.5}
    assert (config.rotary_pct, config.rotary_emb_base) == (0.5, 25000)
    assert not {"rotary_pct", "rotary_emb_base"} & config.to_dict().keys()
    rotated = {"rope_theta": 500.0, "partial_rotary_factor": 1.0, "rope_type": "default"}
    config = GPTNeoXConfig.from_dict({**SMALL, "rotary_pct": 0.5, "rope_parameters": rotated})
    assert config.rope_parameters == rotated, "what stands in the dict comes before what stands beside it"
    config.rotary_pct = 0.75
    assert config.rope_parameters["partial_rotary_factor"] == 0.75


@torch.no_grad()
def test_arguments_come_in_the_established_order(model):
    embeds, mask = model.get_input_embeddings()(IDS), torch.ones_like(IDS)
    expected = model(IDS).logits
    assert torch.equal(model(None, mask, None, embeds).logits, expected)
    assert torch.equal(model.gpt_neox(None, mask, None, embeds)[0], model.gpt_neox(IDS)[0])
    cache = model(IDS[:, :3]).past_key_values
    torch.testing.assert_close(model(IDS[:, 3:], None, None, None, cache).logits, expected[:, 3:])
    tokens = GPTNeoXForTokenClassification(GPTNeoXConfig(**SMALL)).eval()
    cache = tokens.gpt_neox(IDS[:, :3]).past_key_values
    torch.testing.assert_close(tokens(IDS[:, 3:], cache).logits, tokens(IDS).logits[:, 3:])


@pytest.mark.parametrize("kind", [GPTNeoXForTokenClassification, GPTNeoXForQuestionAnswering])
def test_segments_are_refused(kind):
    with pytest.raises(InputError, match="`token_type_ids` are given, and GPT-NeoX has no segment embeddings"):
        kind(GPTNeoXConfig(**SMALL))(IDS, token_type_ids=torch.zeros_like(IDS))


@torch.no_grad()
def test_side_by_side_and_one_after_the_other_differ():
    torch.manual_seed(0)
    beside = GPTNeoXModel(GPTNeoXConfig(**SMALL)).eval()
    after = GPTNeoXModel(GPTNeoXConfig(**SMALL, use_parallel_residual=False)).eval()
    after.load_state_dict(beside.state_dict())
    assert not torch.allclose(beside(IDS)[0], after(IDS)[0], atol=1e-3)


def test_dropout_acts_on_embeddings_and_both_blocks_while_training():
    for rates in ({"hidden_dropout": 0.5}, {"attention_dropout": 0.5}):
        model = GPTNeoXModel(GPTNeoXConfig(**SMALL, **rates)).train()
        assert not torch.equal(model(IDS)[0], model(IDS)[0])
        assert torch.equal(model.eval()(IDS)[0], model(IDS)[0])
