"""What the decoder is fed, where heads read, and what else a checkpoint has."""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transept_bart.modeling import BartForConditionalGeneration, BartModel

import transept
from transept.errors import ConfigError, InputError, MissingTensorsError


def test_labels_are_shifted_as_the_peer_does(bart_pair, ids, assert_equal_to_scale):
    ours, peer = bart_pair("BartForConditionalGeneration")
    labels = torch.tensor([[0, 5, 6, 7, 2], [0, 8, 2, -100, -100]])
    found = ours.prepare_decoder_input_ids_from_labels(labels)
    assert torch.equal(found, peer.prepare_decoder_input_ids_from_labels(labels))
    assert found.tolist() == [[2, 0, 5, 6, 7], [2, 0, 8, 2, 1]]
    mine, theirs = ours(ids(), labels=labels), peer(ids(), labels=labels)
    assert_equal_to_scale(mine.loss, theirs.loss)
    assert mine.past_key_values is None
    assert_equal_to_scale(ours(ids(), labels=labels, num_items_in_batch=16).loss, theirs.loss * 8 / 16)


def test_without_its_own_input_the_decoder_reads_the_text_shifted(bart_pair, ids, assert_equal_to_scale):
    ours, peer = bart_pair("BartModel")
    assert_equal_to_scale(ours(ids()).last_hidden_state, peer(ids()).last_hidden_state)
    with pytest.raises(InputError, match="decoder_input_ids"):
        ours(inputs_embeds=torch.randn(2, 5, 32))


@pytest.mark.parametrize("name", ["decoder_start_token_id", "pad_token_id"])
def test_shifting_needs_the_start_and_the_padding(bart_config, ids, name):
    with pytest.raises(ConfigError, match=name):
        BartForConditionalGeneration(bart_config(**{name: None}))(ids(), labels=ids(length=4))


@torch.no_grad()
def test_the_decoders_labels_are_shifted_already(bart_pair, ids, assert_equal_to_scale):
    ours, peer = bart_pair("BartForCausalLM")
    labels = ids(seed=1)
    labels[0, 3] = -100
    assert_equal_to_scale(ours(ids(), labels=labels).loss, peer(ids(), labels=labels).loss)
    assert (ours.config.is_decoder, ours.config.is_encoder_decoder) == (True, False)


@torch.no_grad()
def test_a_sequence_is_read_at_its_last_end(bart_pair, ids, assert_equal_to_scale):
    ours, peer = bart_pair("BartForSequenceClassification")
    assert ours.num_labels == 3
    tokens = ids()
    tokens[:, 4] = 2
    tokens[0, 10], tokens[1, 7], tokens[1, 8:] = 2, 2, 1
    mask = (tokens != 1).long()
    assert_equal_to_scale(ours(tokens, mask).logits, peer(tokens, mask).logits)
    tokens[:, 4] = 5
    tokens[0, 10] = 6
    with pytest.raises(InputError, match="no end-of-sequence token"):
        ours(tokens)
    with pytest.raises(InputError, match="`input_ids`"):
        ours(inputs_embeds=torch.randn(2, 5, 32))


def test_one_end_of_an_answer_is_not_enough(bart_pair, ids):
    ours, _ = bart_pair("BartForQuestionAnswering")
    with pytest.raises(InputError, match="both"):
        ours(ids(), start_positions=torch.tensor([1, 2]))


def test_layers_are_dropped_while_training_as_the_peers(bart_pair, ids, assert_equal_to_scale):
    still = {"dropout": 0.0, "encoder_layerdrop": 0.5, "decoder_layerdrop": 0.5}
    ours, peer = bart_pair("BartModel", **still)
    whole = ours(ids()).last_hidden_state
    ours.train(), peer.train()
    seen = set()
    for seed in range(5):
        outputs = []
        for model in (ours, peer):
            torch.manual_seed(seed)
            outputs.append(model(ids(), use_cache=False).last_hidden_state)
        assert_equal_to_scale(*outputs)
        seen.add(bool(torch.allclose(outputs[0], whole)))
    assert False in seen


def test_the_bias_of_the_logits_is_part_of_a_checkpoint(bart_pair, ids, tmp_path, assert_equal_to_scale):
    ours, peer = bart_pair("BartForConditionalGeneration")
    assert ours.final_logits_bias.abs().max() > 0.1
    peer.save_pretrained(tmp_path / "peer")
    ours.save_pretrained(tmp_path / "ours")
    expected = peer(ids()).logits
    for kind, folder in ((transept, "peer"), (transformers, "ours")):
        assert_equal_to_scale(kind.BartForConditionalGeneration.from_pretrained(tmp_path / folder)(ids()).logits, expected)
    file = tmp_path / "ours" / "model.safetensors"
    tensors = load_file(file)
    without = {name: tensor for name, tensor in tensors.items() if name != "final_logits_bias"}
    older = {"model.encoder.version": torch.ones(1), "model.decoder.version": torch.ones(1)}
    save_file({**without, **older}, file, metadata={"format": "pt"})
    opened, info = transept.BartForConditionalGeneration.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(info.values())
    assert_equal_to_scale(opened(ids()).logits, expected - peer.final_logits_bias)


@torch.no_grad()
def test_the_bias_follows_the_vocabulary(bart_pair, ids):
    ours, _ = bart_pair("BartForConditionalGeneration")
    tokens = ids() % 86 + 4
    before = ours(tokens).logits
    for size in (101, 90):
        ours.resize_token_embeddings(size)
        kept = min(size, 97)
        torch.testing.assert_close(ours(tokens).logits[..., :kept], before[..., :kept])
        assert ours.final_logits_bias.shape == (1, size)
        assert not ours.final_logits_bias[:, 97:].any()


def test_one_embedding_serves_both_halves_and_the_head(bart_config, tmp_path):
    model = BartForConditionalGeneration(bart_config())
    model.save_pretrained(tmp_path)
    held = [name for name in load_file(tmp_path / "model.safetensors") if "embed_tokens" in name or "shared" in name]
    assert held == ["model.shared.weight"]
    weights = (model.model.shared, model.model.encoder.embed_tokens, model.model.decoder.embed_tokens, model.lm_head)
    assert len({id(one.weight) for one in weights}) == 1


def test_a_base_checkpoint_opens_in_heads_and_the_reverse(bart_pair, ids, tmp_path, assert_equal_to_scale):
    _, peer = bart_pair("BartModel")
    peer.save_pretrained(tmp_path)
    ours = transept.BartForConditionalGeneration.from_pretrained(tmp_path)
    assert_equal_to_scale(ours.model(ids()).last_hidden_state, peer(ids()).last_hidden_state)
    ours.save_pretrained(tmp_path / "head")
    assert_equal_to_scale(BartModel.from_pretrained(tmp_path / "head")(ids()).last_hidden_state, peer(ids()).last_hidden_state)


@pytest.mark.parametrize("keys", [{}, {"normalize_embedding": False, "add_final_layer_norm": False}], ids=str)
def test_norms_before_the_parts_are_read_from_older_files(ids, tmp_path, assert_equal_to_scale, keys):
    """Those files became mBART's, whose class in the peer has them."""
    settings = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "vocab_size": 97}
    settings |= {"decoder_attention_heads": 4, "encoder_ffn_dim": 40, "decoder_ffn_dim": 40, "max_position_embeddings": 40}
    peer = transformers.MBartModel(transformers.MBartConfig(**settings, init_std=0.2)).eval()
    names = {"normalize_embedding": "layernorm_embedding", "add_final_layer_norm": "layer_norm"}
    for half in (peer.encoder, peer.decoder):
        for key in keys:
            setattr(half, names[key], torch.nn.Identity())
    peer.save_pretrained(tmp_path)
    said = {"normalize_before": True, "add_final_layer_norm": True, "scale_embedding": False, **keys}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bart", **settings, **said}))
    ours = BartModel.from_pretrained(tmp_path)
    inputs = {"input_ids": ids(), "decoder_input_ids": ids(length=6, seed=1)}
    assert_equal_to_scale(ours(**inputs).last_hidden_state, peer(**inputs).last_hidden_state)
    ours.save_pretrained(tmp_path / "again")
    assert_equal_to_scale(BartModel.from_pretrained(tmp_path / "again")(**inputs).last_hidden_state, ours(**inputs)[0])


def test_positions_that_are_not_learned_are_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bart", "static_position_embeddings": True}))
    with pytest.raises(ConfigError, match="static_position_embeddings"):
        transept.BartConfig.from_pretrained(tmp_path)


def test_an_incomplete_checkpoint_is_refused(bart_config, tmp_path):
    BartModel(bart_config()).save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    del tensors["decoder.layers.1.encoder_attn.k_proj.bias"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(MissingTensorsError, match=r"encoder_attn\.k_proj\.bias"):
        BartModel.from_pretrained(tmp_path)
