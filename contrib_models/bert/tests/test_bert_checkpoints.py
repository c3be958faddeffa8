"""Checkpoints of other tasks and of older versions load, and what is new or left out is told."""

import json
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

import transept
from transept.errors import ConfigError, MissingTensorsError, ShapeMismatchError, UnexpectedTensorsError, UnknownArgumentError


def load(name, folder, **arguments):
    """(model, report) without the warning that the report repeats."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return getattr(transept, name).from_pretrained(folder, output_loading_info=True, **arguments)


def starts(names):
    return {".".join(name.split(".")[:2]) for name in names}


HEADS = {
    "BertForPreTraining": {"cls.predictions", "cls.seq_relationship"},
    "BertForMaskedLM": {"cls.predictions"},
    "BertForNextSentencePrediction": {"cls.seq_relationship"},
    "BertForSequenceClassification": {"classifier.weight", "classifier.bias"},
    "BertForMultipleChoice": {"classifier.weight", "classifier.bias"},
    "BertForTokenClassification": {"classifier.weight", "classifier.bias"},
    "BertForQuestionAnswering": {"qa_outputs.weight", "qa_outputs.bias"},
    "BertLMHeadModel": {"cls.predictions"},
}
POOLED = {"BertForPreTraining", "BertForNextSentencePrediction", "BertForSequenceClassification", "BertForMultipleChoice"}


@pytest.mark.parametrize("name", HEADS)
def test_a_base_checkpoint_gives_any_head_its_encoder(bert, tmp_path, name):
    base = bert("BertModel", is_decoder=name == "BertLMHeadModel")
    base.save_pretrained(tmp_path)
    model, report = load(name, tmp_path)
    assert starts(report["missing_keys"]) == HEADS[name]
    assert starts(report["unexpected_keys"]) == (set() if name in POOLED else {"pooler.dense"})
    for parameter, value in model.bert.named_parameters():
        assert torch.equal(value, base.get_parameter(parameter))
    assert all(torch.isfinite(value).all() for value in model.parameters())


@pytest.mark.parametrize("name", HEADS)
def test_a_head_checkpoint_gives_the_base_model(bert, tmp_path, name):
    head = bert(name, is_decoder=name == "BertLMHeadModel")
    head.save_pretrained(tmp_path)
    model, report = load("BertModel", tmp_path)
    assert starts(report["missing_keys"]) == (set() if name in POOLED else {"pooler.dense"})
    assert starts(report["unexpected_keys"]) == HEADS[name]
    assert torch.equal(model.encoder.layer[1].output.dense.weight, head.bert.encoder.layer[1].output.dense.weight)


def test_a_head_that_is_new_is_told_of(bert, tmp_path):
    bert("BertForMaskedLM").save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match=r"`BertForSequenceClassification`.*`classifier\.weight`.*train them"):
        model = transept.BertForSequenceClassification.from_pretrained(tmp_path, num_labels=4)
    assert model.classifier.weight.shape == (4, 32)
    assert "`bert.pooler.dense.weight`" in str(model.load_report)


def test_labels_of_another_number_are_told_with_their_shapes(bert, tmp_path):
    bert("BertForSequenceClassification", num_labels=3).save_pretrained(tmp_path)
    with pytest.raises(ShapeMismatchError, match=r"`classifier\.bias: \[3\] in the checkpoint, \[5\] in the model`"):
        transept.BertForSequenceClassification.from_pretrained(tmp_path, num_labels=5)
    with pytest.warns(UserWarning, match=r"classifier\.bias: \[3\] in the checkpoint.* of another shape") as told:
        model = transept.BertForSequenceClassification.from_pretrained(tmp_path, num_labels=5, ignore_mismatched_sizes=True)
    assert not any("not in the checkpoint" in str(one.message) for one in told)
    assert str(model.load_report).count("classifier.bias") == 1
    info = model.load_report.as_loading_info()
    assert info["missing_keys"] == []
    assert ("classifier.bias", (3,), (5,)) in info["mismatched_keys"]


def test_what_the_class_takes_beside_the_configuration_may_be_said_while_loading(bert, tmp_path):
    """Libraries load encoders with `add_pooling_layer=False`."""
    bert("BertModel").save_pretrained(tmp_path)
    config = transept.AutoConfig.from_pretrained(tmp_path)
    model, report = load("BertModel", tmp_path, add_pooling_layer=False)
    assert model.pooler is None
    assert starts(report["unexpected_keys"]) == {"pooler.dense"}
    assert transept.AutoModel.from_config(config, add_pooling_layer=False).pooler is None
    with pytest.raises(UnknownArgumentError, match="`add_pooling_layer`"):
        load("BertForMaskedLM", tmp_path, add_pooling_layer=False)
    with pytest.raises(UnknownArgumentError, match="`num_labels`"):  # a field of the configuration, and its word counts
        transept.AutoModelForSequenceClassification.from_config(config, num_labels=3)


def test_another_familys_configuration_is_refused():
    class ParrotConfig(transept.PretrainedConfig):
        model_type = "parrot"

    with pytest.raises(ConfigError, match="`BertModel` is built from a `BertConfig`, not from a `ParrotConfig`"):
        transept.BertModel(ParrotConfig())


def test_an_encoders_checkpoint_starts_a_decoder_with_cross_attention(bert, tmp_path, ids):
    bert("BertForMaskedLM").save_pretrained(tmp_path)
    model, report = load("BertLMHeadModel", tmp_path, is_decoder=True, add_cross_attention=True)
    assert report["missing_keys"]
    assert all(".crossattention." in name for name in report["missing_keys"])
    assert torch.isfinite(model(ids(), encoder_hidden_states=torch.randn(2, 3, 32)).logits).all()


def test_the_names_of_the_first_release_load(bert, tmp_path, ids):
    model = bert("BertForPreTraining")
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in tensors.items()
    }
    assert sum(name.endswith((".gamma", ".beta")) for name in old) == 2 * (1 + 2 * 2 + 1)
    old["bert.embeddings.position_ids"] = torch.arange(24)[None]
    old["cls.predictions.decoder.weight"] = old["bert.embeddings.word_embeddings.weight"].clone()
    save_file(old, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(
        json.dumps({**json.loads((tmp_path / "config.json").read_text()), "position_embedding_type": "absolute"})
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded, report = transept.BertForPreTraining.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    with torch.no_grad():
        assert torch.equal(loaded(ids()).prediction_logits, model(ids()).prediction_logits)
    assert loaded.cls.predictions.decoder.weight is loaded.bert.embeddings.word_embeddings.weight
    loaded.save_pretrained(tmp_path / "again")
    assert load_file(tmp_path / "again" / "model.safetensors").keys() == tensors.keys()
    base, report = load("BertModel", tmp_path)
    assert not report["missing_keys"]
    assert torch.equal(base.embeddings.LayerNorm.weight, model.bert.embeddings.LayerNorm.weight)


@pytest.mark.parametrize("kept", ["cls.predictions.bias", "cls.predictions.decoder.bias", "both"])
def test_the_bias_of_words_under_either_name(bert, tmp_path, kept):
    model = bert("BertForMaskedLM")
    torch.nn.init.normal_(model.cls.predictions.bias)
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    bias = tensors.pop("cls.predictions.bias")
    names = ["cls.predictions.bias", "cls.predictions.decoder.bias"] if kept == "both" else [kept]
    save_file({**tensors, **{name: bias.clone() for name in names}}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded, report = load("BertForMaskedLM", tmp_path)
    assert not any(report.values())
    assert loaded.cls.predictions.decoder.bias is loaded.cls.predictions.bias
    assert torch.equal(loaded.cls.predictions.bias, bias)


def test_a_head_of_its_own_is_kept_apart(bert, tmp_path, ids):
    model = bert("BertForMaskedLM")
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["cls.predictions.decoder.weight"] = torch.randn(97, 32)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded, report = load("BertForMaskedLM", tmp_path)
    assert not any(report.values())
    assert torch.equal(loaded.cls.predictions.decoder.weight, tensors["cls.predictions.decoder.weight"])
    loaded.save_pretrained(tmp_path / "again")
    again, report = load("BertForMaskedLM", tmp_path / "again")
    assert not any(report.values())
    with torch.no_grad():
        assert torch.equal(again(ids()).logits, loaded(ids()).logits)


def test_half_an_encoder_is_refused(bert, tmp_path):
    bert("BertModel").save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    query = tensors.pop("encoder.layer.1.attention.self.query.weight")
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(MissingTensorsError, match=r"encoder\.layer\.1\.attention\.self\.query\.weight"):
        transept.BertForQuestionAnswering.from_pretrained(tmp_path)
    tensors["encoder.layer.1.attention.self.query.weight"] = query
    tensors["encoder.layer.1.attention.self.distance_embedding.weight"] = query.clone()
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(UnexpectedTensorsError, match="distance_embedding"):
        transept.BertForQuestionAnswering.from_pretrained(tmp_path)


@torch.no_grad()
def test_resizing_is_the_peers_but_for_what_is_drawn(bert_pair, ids):
    models = bert_pair("BertForMaskedLM")
    for model in (models.ours, models.peer):
        model.resize_token_embeddings(103)
        assert model.cls.predictions.decoder.bias.shape == (103,)
        assert model.cls.predictions.bias is model.cls.predictions.decoder.bias
    found, expected = models.both(ids())
    torch.testing.assert_close(found.logits[..., :97], expected.logits[..., :97], rtol=1e-4, atol=1e-4)
    assert torch.allclose(models.ours.cls.predictions.bias, models.peer.cls.predictions.bias)
    models.ours.resize_token_embeddings(50)
    assert models.ours(ids() % 50).logits.shape == (2, 11, 50)
