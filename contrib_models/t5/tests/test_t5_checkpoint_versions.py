"""Checkpoints of both versions, old ones among them, and what they become in half precision."""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transept_t5.configuration import T5Config
from transept_t5.heads import T5ForTokenClassification
from transept_t5.modeling import T5EncoderModel, T5ForConditionalGeneration

from transept.errors import ConfigError

CROSS_TABLE = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"


@pytest.fixture
def inputs(ids):
    return {"input_ids": ids(), "decoder_input_ids": ids(length=6, seed=1)}


@torch.no_grad()
def test_a_head_of_its_own_goes_both_ways(t5_pair, inputs, tmp_path, assert_equal_to_scale):
    _, peer = t5_pair("T5ForConditionalGeneration", "v1.1")
    peer.save_pretrained(tmp_path / "peer")
    ours = T5ForConditionalGeneration.from_pretrained(tmp_path / "peer")
    assert ours.lm_head.weight is not ours.shared.weight
    assert ours.encoder.embed_tokens.weight is ours.decoder.embed_tokens.weight is ours.shared.weight
    assert_equal_to_scale(ours(**inputs).logits, peer(**inputs).logits)
    ours.save_pretrained(tmp_path / "ours")
    again = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path / "ours")
    assert_equal_to_scale(ours(**inputs).logits, again(**inputs).logits)


@torch.no_grad()
def test_only_the_first_version_scales_what_the_head_reads(t5_config, inputs):
    tied = T5ForConditionalGeneration(t5_config("v1.0")).eval()
    unscaled = T5ForConditionalGeneration(t5_config("v1.0", scale_decoder_outputs=False)).eval()
    unscaled.load_state_dict(tied.state_dict())
    torch.testing.assert_close(tied(**inputs).logits, unscaled(**inputs).logits * 32**-0.5)


def test_a_configuration_of_its_time(tmp_path):
    """Files from before `scale_decoder_outputs` and `dense_act_fn`: what they leave out follows from the rest."""
    old = {"model_type": "t5", "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "num_layers": 8}
    (tmp_path / "config.json").write_text(json.dumps(old))
    found = T5Config.from_pretrained(tmp_path)
    assert (found.dense_act_fn, found.is_gated_act, found.scale_decoder_outputs) == ("gelu_new", True, False)
    assert found.num_decoder_layers == 8
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5"}))
    found = T5Config.from_pretrained(tmp_path)
    assert (found.dense_act_fn, found.is_gated_act, found.scale_decoder_outputs) == ("relu", False, True)


def test_another_feed_forward_block_takes_its_activation_along(tmp_path):
    config = T5Config()
    config.feed_forward_proj = "gated-silu"
    assert (config.dense_act_fn, config.is_gated_act) == ("silu", True)
    with pytest.raises(ConfigError, match="feed_forward_proj"):
        config.feed_forward_proj = "gated-gelu-new"
    assert (config.feed_forward_proj, config.dense_act_fn) == ("gated-silu", "silu"), "what is refused changes nothing"
    config.feed_forward_proj = "relu"
    config.save_pretrained(tmp_path)
    changed = T5Config.from_pretrained(tmp_path, feed_forward_proj="gated-gelu")
    assert (changed.dense_act_fn, changed.is_gated_act) == ("gelu_new", True)


def test_a_table_that_old_files_carry_is_passed_over(t5_config, tmp_path, recwarn):
    T5ForConditionalGeneration(t5_config()).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({**tensors, CROSS_TABLE: torch.zeros(8, 4)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    model = T5ForConditionalGeneration.from_pretrained(tmp_path)
    assert not model.load_report.unexpected
    assert not model.load_report.newly_initialized
    assert not [warning for warning in recwarn if "relative_attention_bias" in str(warning.message)]


@torch.no_grad()
def test_the_encoder_of_a_whole_checkpoint(t5_config, ids, tmp_path, recwarn):
    whole = T5ForConditionalGeneration(t5_config("v1.1")).eval()
    whole.save_pretrained(tmp_path)
    encoder = T5EncoderModel.from_pretrained(tmp_path)
    assert not [warning for warning in recwarn if "checkpoint" in str(warning.message)]
    assert torch.equal(encoder(ids()).last_hidden_state, whole.encoder(ids()).last_hidden_state)
    assert not encoder.config.is_encoder_decoder
    assert encoder.config.dtype == torch.float32
    assert encoder.config.name_or_path == str(tmp_path)


def test_an_encoder_leaves_the_configuration_that_it_is_given(t5_config):
    config = t5_config()
    for kind in (T5EncoderModel, T5ForTokenClassification):
        assert kind(config).config is not config
        assert config.is_encoder_decoder
        assert config.use_cache


@torch.no_grad()
def test_a_head_of_its_own_grows_with_the_vocabulary(t5_config, inputs, tmp_path):
    model = T5ForConditionalGeneration(t5_config("v1.1")).eval()
    before, head = model(**inputs).logits, model.lm_head.weight.clone()
    model.resize_token_embeddings(103)
    assert model.lm_head.weight.shape == model.shared.weight.shape == (103, 32)
    assert torch.equal(model.lm_head.weight[:97], head)
    assert model.encoder.embed_tokens.weight is model.decoder.embed_tokens.weight is model.shared.weight
    torch.testing.assert_close(model(**inputs).logits[..., :97], before)
    model.save_pretrained(tmp_path)
    loaded = T5ForConditionalGeneration.from_pretrained(tmp_path)
    assert torch.equal(loaded(**inputs).logits, model(**inputs).logits)


@torch.no_grad()
def test_float16_keeps_the_last_feed_forward_layer_wide(t5_pair, version, inputs, tmp_path, assert_equal_to_scale):
    _, exact = t5_pair("T5ForConditionalGeneration", version)
    exact.save_pretrained(tmp_path)
    ours = T5ForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float16)
    peer = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float16, attn_implementation="eager")
    assert {name: one.dtype for name, one in ours.named_parameters()} == {
        name: one.dtype for name, one in peer.named_parameters()
    }
    assert ours.encoder.block[0].layer[1].DenseReluDense.wo.weight.dtype == torch.float32
    found, expected = ours(**inputs, output_hidden_states=True), peer(**inputs, output_hidden_states=True)
    assert [one.dtype for one in found.decoder_hidden_states] == [one.dtype for one in expected.decoder_hidden_states]
    assert_equal_to_scale(found.logits, expected.logits, 1e-2)
    ours.save_pretrained(tmp_path / "again")
    stored = load_file(tmp_path / "again" / "model.safetensors")
    assert {tensor.dtype for name, tensor in stored.items() if ".wo." in name} == {torch.float32}
    assert stored["shared.weight"].dtype == torch.float16


@torch.no_grad()
def test_float16_clamps_infinities(t5_pair, inputs, assert_equal_to_scale):
    models = t5_pair("T5ForConditionalGeneration")
    outputs = []
    for model in models:
        model.half()
        model.encoder.block[1].layer[1].DenseReluDense.wo.weight.mul_(60000)
        model.decoder.block[0].layer[1].EncDecAttention.o.weight.mul_(60000)
        outputs.append(model(**inputs, output_hidden_states=True))
    found, expected = outputs
    assert float(found.encoder_hidden_states[2].abs().max()) == 65504 - 992, "max - 1000, as float16 has it"
    assert torch.isfinite(found.logits).all()
    assert_equal_to_scale(found.logits, expected.logits, 2e-2)
