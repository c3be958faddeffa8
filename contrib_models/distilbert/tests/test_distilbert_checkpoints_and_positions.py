"""DistilBERT's checkpoints under every head, and its table of positions: how it starts, ends and grows."""

import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file
from transept_distilbert.configuration import DistilBertConfig

import transept
from transept.errors import InputError, MissingTensorsError

SMALL = {"vocab_size": 97, "dim": 32, "hidden_dim": 56, "n_layers": 2, "n_heads": 4, "max_position_embeddings": 24}
IDS = torch.randint(5, 97, (2, 11), generator=torch.Generator().manual_seed(0))


def distilbert(name, **overrides):
    torch.manual_seed(0)
    return getattr(transept, name)(DistilBertConfig(**{**SMALL, **overrides})).eval()


@pytest.mark.parametrize(
    ("name", "new"),
    [
        ("DistilBertForSequenceClassification", {"pre_classifier", "classifier"}),
        ("DistilBertForMultipleChoice", {"pre_classifier", "classifier"}),
        ("DistilBertForTokenClassification", {"classifier"}),
        ("DistilBertForQuestionAnswering", {"qa_outputs"}),
        ("DistilBertModel", set()),
    ],
)
def test_a_checkpoint_of_masked_words_gives_any_head_its_encoder(tmp_path, name, new):
    before = distilbert("DistilBertForMaskedLM")
    before.save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model, report = getattr(transept, name).from_pretrained(tmp_path, output_loading_info=True)
    assert {key.split(".")[0] for key in report["missing_keys"]} == new
    heads = {"vocab_transform", "vocab_layer_norm", "vocab_projector"}
    assert {key.split(".")[0] for key in report["unexpected_keys"]} == heads
    assert torch.equal(
        model.base_model.transformer.layer[1].ffn.lin1.weight, before.distilbert.transformer.layer[1].ffn.lin1.weight
    )


def test_extras_of_older_files_load(tmp_path):
    model = distilbert("DistilBertForMaskedLM")
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    old = {
        **tensors,
        "distilbert.embeddings.position_ids": torch.arange(24)[None],
        "vocab_projector.weight": tensors["distilbert.embeddings.word_embeddings.weight"].clone(),
    }
    save_file(old, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = transept.DistilBertForMaskedLM.from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(IDS).logits, model(IDS).logits)
    assert loaded.vocab_projector.weight is loaded.distilbert.embeddings.word_embeddings.weight
    del tensors["distilbert.transformer.layer.0.attention.q_lin.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MissingTensorsError, match=r"layer\.0\.attention\.q_lin\.weight"):
        transept.DistilBertForQuestionAnswering.from_pretrained(tmp_path)


def test_sinusoids_are_the_peers():
    transformers = pytest.importorskip("transformers")
    for changes in ({}, {"dim": 36, "n_heads": 3}):
        ours = distilbert("DistilBertModel", sinusoidal_pos_embds=True, **changes)
        peer = transformers.DistilBertModel(transformers.DistilBertConfig(**{**SMALL, **changes}, sinusoidal_pos_embds=True))
        table = ours.get_position_embeddings().weight
        torch.testing.assert_close(table, peer.get_position_embeddings().weight, rtol=1e-6, atol=1e-6)
        assert table.requires_grad
    drawn = distilbert("DistilBertModel").get_position_embeddings().weight
    assert float(drawn.detach().std()) == pytest.approx(0.02, rel=0.2)


@torch.no_grad()
@pytest.mark.parametrize("name", ["DistilBertModel", "DistilBertForMaskedLM"])
@pytest.mark.parametrize("sinusoids", [False, True])
def test_the_position_table_grows_and_shrinks(name, sinusoids, tmp_path):
    model = distilbert(name, sinusoidal_pos_embds=sinusoids)
    before, table = model(IDS)[0], model.get_position_embeddings().weight.clone()
    long = IDS.repeat(1, 3)[:, :30]
    with pytest.raises(InputError, match="30 tokens, and the position table ends at 24"):
        model(long)
    model.resize_position_embeddings(30)
    assert torch.equal(model.get_position_embeddings().weight[:24], table)
    assert torch.equal(model(IDS)[0], before)
    assert torch.isfinite(model(long)[0]).all()
    if sinusoids:
        longer = distilbert(name, sinusoidal_pos_embds=True, max_position_embeddings=30)
        assert torch.equal(model.get_position_embeddings().weight, longer.get_position_embeddings().weight)
    model.resize_position_embeddings(12)
    assert torch.equal(model(IDS)[0], before)
    model.save_pretrained(tmp_path)
    assert torch.equal(type(model).from_pretrained(tmp_path)(IDS)[0], before)
    with pytest.raises(InputError, match="13 tokens, and the position table ends at 12"):
        model(long[:, :13])
    with pytest.raises(InputError, match="A table of 0 positions"):
        model.resize_position_embeddings(0)


def test_each_head_has_its_own_dropout():
    rates = {"dropout": 0.1, "seq_classif_dropout": 0.3, "qa_dropout": 0.4}
    assert distilbert("DistilBertForSequenceClassification", **rates).dropout.p == 0.3
    assert distilbert("DistilBertForMultipleChoice", **rates).dropout.p == 0.3
    assert distilbert("DistilBertForTokenClassification", **rates).dropout.p == 0.1
    answers = distilbert("DistilBertForQuestionAnswering", **rates)
    assert answers.dropout.p == 0.4
    answers.dropout.p = 1.0
    assert not torch.equal(answers(IDS).start_logits, answers.train()(IDS).start_logits)
