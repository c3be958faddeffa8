"""A real encoder, all-MiniLM-L6-v2, on real sentences."""

import warnings

import pytest
import torch

import transept

SENTENCES = [
    "A man is playing a guitar on the stage.",
    "Someone performs music with a guitar.",
    "The central bank raised interest rates by half a point.",
    "Die Katze schläft auf dem warmen Fensterbrett.",
    "naïve café — 東京, 2024; f(x) = x² & more…",
]


@pytest.fixture(scope="module")
def encoded(minilm):
    return transept.AutoTokenizer.from_pretrained(minilm)(SENTENCES, padding=True, return_tensors="pt")


@pytest.fixture(scope="module")
def model(minilm):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the checkpoint fits, and its `position_ids` are known
        return transept.AutoModel.from_pretrained(minilm)


@torch.no_grad()
def test_hidden_states_of_every_layer_are_the_peers(minilm, model, encoded, assert_equal_to_scale):
    transformers = pytest.importorskip("transformers")
    peer = transformers.BertModel.from_pretrained(minilm, attn_implementation="eager")
    assert type(model).__name__ == "BertModel"
    kept = encoded["attention_mask"].bool()
    asked = {"output_hidden_states": True, "output_attentions": True}
    found, expected = model(**encoded, **asked), peer(**encoded, **asked)
    assert len(found.hidden_states) == 7
    for ours, theirs in zip(found.hidden_states, expected.hidden_states, strict=True):
        assert_equal_to_scale(ours[kept], theirs[kept])
    for ours, theirs in zip(found.attentions, expected.attentions, strict=True):
        assert_equal_to_scale(ours.transpose(1, 2)[kept], theirs.transpose(1, 2)[kept])
    assert_equal_to_scale(found.pooler_output, expected.pooler_output)


@torch.no_grad()
def test_paraphrases_are_nearer_than_strangers(model, encoded):
    weight = encoded["attention_mask"][..., None].float()
    states = model(**encoded).last_hidden_state
    embeddings = torch.nn.functional.normalize((states * weight).sum(1) / weight.sum(1), dim=-1)
    likeness = embeddings @ embeddings.T
    assert likeness[0, 1] > 0.6
    assert likeness[0, 2:].max() < 0.2


@torch.no_grad()
def test_a_batch_is_its_sentences(model, encoded, assert_equal_to_scale):
    together = model(**encoded).last_hidden_state
    for row, length in enumerate(encoded["attention_mask"].sum(-1).tolist()):
        alone = model(encoded["input_ids"][row : row + 1, :length]).last_hidden_state
        assert_equal_to_scale(together[row : row + 1, :length], alone)


@pytest.mark.parametrize(
    ("name", "new"),
    [
        ("BertForSequenceClassification", {"classifier.weight", "classifier.bias"}),
        ("BertForTokenClassification", {"classifier.weight", "classifier.bias"}),
        ("BertForQuestionAnswering", {"qa_outputs.weight", "qa_outputs.bias"}),
    ],
)
def test_new_heads_are_reported(minilm, model, name, new):
    with pytest.warns(UserWarning, match="were drawn at random"):
        headed, report = getattr(transept, name).from_pretrained(minilm, output_loading_info=True)
    assert set(report["missing_keys"]) == new
    for parameter, value in headed.bert.named_parameters():
        assert torch.equal(value, model.get_parameter(parameter))


@pytest.mark.parametrize(
    ("door", "kind"),
    [("AutoModel", "BertModel"), ("AutoModelForTextEncoding", "BertModel"), ("AutoModelForMaskedLM", "BertForMaskedLM")],
)
def test_the_auto_classes_find_bert(minilm, door, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert type(getattr(transept, door).from_pretrained(minilm)).__name__ == kind


def test_memory_is_the_file_until_it_is_changed(minilm):
    model = transept.BertModel.from_pretrained(minilm)
    assert model.load_report.unexpected == []
    assert model.load_report.converted == []
    assert model.num_parameters() == 22_713_216
