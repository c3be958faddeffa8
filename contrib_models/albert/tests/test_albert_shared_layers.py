"""ALBERT's passes share layers, its words are narrow, and its checkpoints load under every head."""

import itertools
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file
from transept_albert.configuration import AlbertConfig

import transept
from transept.errors import InputError, MissingTensorsError

SMALL = {
    "vocab_size": 97,
    "embedding_size": 16,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 24,
}
IDS = torch.randint(5, 97, (2, 11), generator=torch.Generator().manual_seed(0))


def albert(name, **overrides):
    torch.manual_seed(0)
    return getattr(transept, name)(AlbertConfig(**{**SMALL, **overrides})).eval()


@torch.no_grad()
def test_passes_share_the_weights_of_their_group():
    model = albert("AlbertModel")
    assert sum(p.numel() for p in model.parameters()) == sum(
        p.numel() for p in albert("AlbertModel", num_hidden_layers=40).parameters()
    )
    states = model(IDS, output_hidden_states=True).hidden_states
    layer = model.encoder.albert_layer_groups[0].albert_layers[0]
    mask = model.attention_mask_for(states[0], None, kind="bidirectional")
    for before, after in itertools.pairwise(states):
        torch.testing.assert_close(layer(before, mask=mask)[0], after)


@torch.no_grad()
@pytest.mark.parametrize(("passes", "groups"), [(4, 2), (5, 2), (7, 3), (12, 5), (3, 3), (0, 1)])
def test_which_group_makes_which_pass_is_the_peers(passes, groups, tmp_path):
    transformers = pytest.importorskip("transformers")
    model = albert("AlbertModel", num_hidden_layers=passes, num_hidden_groups=groups, initializer_range=0.3)
    model.save_pretrained(tmp_path)
    peer = transformers.AlbertModel.from_pretrained(tmp_path, attn_implementation="eager").eval()
    torch.testing.assert_close(model(IDS)[0], peer(IDS)[0], rtol=1e-4, atol=1e-4)


def test_a_gradient_is_the_sum_over_passes():
    model = albert("AlbertModel")
    model(IDS).last_hidden_state.square().sum().backward()
    whole = model.encoder.albert_layer_groups[0].albert_layers[0].ffn.weight.grad.clone()
    model.zero_grad()
    model.gradient_checkpointing_enable()
    model.train()(IDS).last_hidden_state.square().sum().backward()
    torch.testing.assert_close(model.encoder.albert_layer_groups[0].albert_layers[0].ffn.weight.grad, whole)


def test_words_are_narrow():
    model = albert("AlbertForMaskedLM")
    assert model.get_input_embeddings().weight.shape == (97, 16)
    assert model.predictions.decoder.weight is model.get_input_embeddings().weight
    assert model.predictions.decoder.bias is model.predictions.bias
    model.resize_token_embeddings(103)
    assert model(IDS).logits.shape == (2, 11, 103)
    assert model.predictions.bias is model.predictions.decoder.bias


@pytest.mark.parametrize(
    ("name", "new", "left"),
    [
        ("AlbertForMaskedLM", set(), {"sop_classifier", "albert.pooler"}),
        ("AlbertForSequenceClassification", {"classifier"}, {"sop_classifier", "predictions"}),
        ("AlbertForMultipleChoice", {"classifier"}, {"sop_classifier", "predictions"}),
        ("AlbertForTokenClassification", {"classifier"}, {"sop_classifier", "predictions", "albert.pooler"}),
        ("AlbertForQuestionAnswering", {"qa_outputs"}, {"sop_classifier", "predictions", "albert.pooler"}),
    ],
)
def test_a_checkpoint_of_pre_training_gives_any_head_its_encoder(tmp_path, name, new, left):
    albert("AlbertForPreTraining").save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        _, report = getattr(transept, name).from_pretrained(tmp_path, output_loading_info=True)

    def parts(names):
        return {".".join(name.split(".")[: 2 if name.startswith("albert.") else 1]) for name in names}

    assert parts(report["missing_keys"]) == new
    assert parts(report["unexpected_keys"]) == left


def test_extras_of_older_files_load(tmp_path):
    model = albert("AlbertForMaskedLM")
    torch.nn.init.normal_(model.predictions.bias)
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    old = {
        **tensors,
        "albert.embeddings.position_ids": torch.arange(24)[None],
        "predictions.decoder.weight": tensors["albert.embeddings.word_embeddings.weight"].clone(),
        "predictions.decoder.bias": tensors["predictions.bias"].clone(),
    }
    save_file(old, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = transept.AlbertForMaskedLM.from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(IDS).logits, model(IDS).logits)
    del tensors["albert.encoder.embedding_hidden_mapping_in.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MissingTensorsError, match="embedding_hidden_mapping_in"):
        transept.AlbertForQuestionAnswering.from_pretrained(tmp_path)


def test_one_label_of_two_and_a_sequence_too_long_are_refused():
    model = albert("AlbertForPreTraining")
    with pytest.raises(InputError, match="both of `labels` and `sentence_order_label`"):
        model(IDS, labels=IDS)
    with pytest.raises(InputError, match="25 tokens, and the position table ends at 24"):
        model(torch.full((1, 25), 7))
    with pytest.raises(InputError, match="`token_type_ids` has ids from 2 to 2"):
        model(IDS, token_type_ids=torch.full_like(IDS, 2))
