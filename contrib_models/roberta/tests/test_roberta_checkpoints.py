"""Checkpoints of other tasks and of older versions load, and what is new or left out is told."""

import json
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

import transept
from transept.errors import MissingTensorsError

CLASSIFIERS = ("RobertaForSequenceClassification", "RobertaForMultipleChoice", "RobertaForTokenClassification")


def load(name, folder, **arguments):
    """(model, report) without the warning that the report repeats."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return getattr(transept, name).from_pretrained(folder, output_loading_info=True, **arguments)


@pytest.mark.parametrize("name", [*CLASSIFIERS, "RobertaForQuestionAnswering", "RobertaForCausalLM"])
def test_a_checkpoint_of_masked_words_gives_any_head_its_encoder(roberta, tmp_path, name):
    before = roberta("RobertaForMaskedLM")
    before.save_pretrained(tmp_path)
    decoder = {"is_decoder": True} if name == "RobertaForCausalLM" else {}
    model, report = load(name, tmp_path, **decoder)
    heads = ("classifier.", "qa_outputs.", "roberta.pooler.")
    assert all(key.startswith(heads) for key in report["missing_keys"])
    assert all(key.startswith("lm_head.") for key in report["unexpected_keys"])
    assert torch.equal(model.roberta.encoder.layer[1].output.dense.weight, before.roberta.encoder.layer[1].output.dense.weight)
    assert all(torch.isfinite(value).all() for value in model.parameters())


def test_the_names_and_extras_of_older_files_load(roberta, ids, tmp_path):
    model = roberta("RobertaForMaskedLM")
    torch.nn.init.normal_(model.lm_head.bias)
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    old = {
        **tensors,
        "roberta.embeddings.position_ids": torch.arange(24)[None],
        "lm_head.decoder.weight": tensors["roberta.embeddings.word_embeddings.weight"].clone(),
        "lm_head.decoder.bias": tensors["lm_head.bias"].clone(),
    }
    save_file(old, tmp_path / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "position_embedding_type": "absolute"}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded, report = transept.RobertaForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    with torch.no_grad():
        assert torch.equal(loaded(ids()).logits, model(ids()).logits)
    assert loaded.lm_head.decoder.weight is loaded.roberta.embeddings.word_embeddings.weight
    assert loaded.lm_head.decoder.bias is loaded.lm_head.bias
    loaded.save_pretrained(tmp_path / "again")
    assert load_file(tmp_path / "again" / "model.safetensors").keys() == tensors.keys()


def test_half_an_encoder_is_refused(roberta, tmp_path):
    roberta("RobertaModel").save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["encoder.layer.1.attention.self.query.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MissingTensorsError, match=r"encoder\.layer\.1\.attention\.self\.query\.weight"):
        transept.RobertaForQuestionAnswering.from_pretrained(tmp_path)


def test_each_head_has_its_own_dropout(roberta):
    rates = {"hidden_dropout_prob": 0.2, "classifier_dropout": 0.4}
    assert roberta("RobertaForSequenceClassification", **rates).classifier.dropout.p == 0.4
    assert roberta("RobertaForTokenClassification", **rates).dropout.p == 0.4
    assert roberta("RobertaForMultipleChoice", **rates).dropout.p == 0.2
    assert roberta("RobertaForSequenceClassification", hidden_dropout_prob=0.2).classifier.dropout.p == 0.2
