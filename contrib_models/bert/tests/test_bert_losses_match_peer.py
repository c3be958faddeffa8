"""Every kind of loss of every head, and its gradients, beside the peer's."""

import pytest
import torch

from transept.errors import InputError

WORDS = torch.randint(0, 97, (2, 11), generator=torch.Generator().manual_seed(3))
WORDS[:, ::3] = -100
TAGS = torch.randint(0, 5, (2, 11), generator=torch.Generator().manual_seed(4))
TAGS[1, 6:] = -100
CASES = {
    "words": ("BertForMaskedLM", {}, {"labels": WORDS}),
    "words and order": ("BertForPreTraining", {}, {"labels": WORDS, "next_sentence_label": torch.tensor([1, 0])}),
    "next words": ("BertLMHeadModel", {"is_decoder": True}, {"labels": WORDS}),
    "order": ("BertForNextSentencePrediction", {}, {"labels": torch.tensor([1, 0])}),
    "one of three": ("BertForSequenceClassification", {"num_labels": 3}, {"labels": torch.tensor([2, 0])}),
    "one of two, in a column": ("BertForSequenceClassification", {}, {"labels": torch.tensor([[1], [0]])}),
    "a number": ("BertForSequenceClassification", {"num_labels": 1}, {"labels": torch.tensor([0.5, -1.5])}),
    "numbers": (
        "BertForSequenceClassification",
        {"num_labels": 3, "problem_type": "regression"},
        {"labels": torch.tensor([[0.5, 1.0, -1.0], [2.0, 0.0, 0.25]])},
    ),
    "some of three": ("BertForSequenceClassification", {"num_labels": 3}, {"labels": torch.tensor([[0.0, 1, 1], [1, 0, 0]])}),
    "tags": ("BertForTokenClassification", {"num_labels": 5}, {"labels": TAGS}),
    "a span": (
        "BertForQuestionAnswering",
        {},
        {"start_positions": torch.tensor([1, 3]), "end_positions": torch.tensor([[4], [99]])},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients(bert_pair, ids, assert_equal_to_scale, case):
    name, settings, labels = CASES[case]
    models = bert_pair(name, **settings)
    mask = torch.ones(2, 11, dtype=torch.long)
    mask[1, 8:] = 0
    arguments = {"attention_mask": mask, "token_type_ids": ids(seed=1) % 3, **labels}
    found, expected = models.both(ids(), **arguments)
    assert_equal_to_scale(found.loss, expected.loss)
    found.loss.backward()
    expected.loss.backward()
    wanted = {n: p.grad for n, p in models.peer.named_parameters() if p.grad is not None}
    assert {n for n, p in models.ours.named_parameters() if p.grad is not None} == set(wanted)
    for parameter, gradient in wanted.items():
        assert_equal_to_scale(models.ours.get_parameter(parameter).grad, gradient, 1e-4)


def test_loss_and_gradients_of_choices(bert_pair, ids, assert_equal_to_scale):
    models = bert_pair("BertForMultipleChoice", num_labels=7)  # which says nothing about choices
    found, expected = models.both(ids(6).view(2, 3, 11), labels=torch.tensor([2, 0]))
    assert found.logits.shape == (2, 3)
    assert_equal_to_scale(found.logits, expected.logits)
    assert_equal_to_scale(found.loss, expected.loss)
    embeds = models.ours.get_input_embeddings()(ids(6)).view(2, 3, 11, 32)
    assert_equal_to_scale(models.ours(inputs_embeds=embeds).logits, expected.logits)


def test_the_loss_of_a_part_of_a_batch(bert, ids):
    model = bert("BertForMaskedLM")
    whole = model(ids(), labels=WORDS).loss
    count = int((WORDS != -100).sum())
    assert torch.allclose(model(ids(), labels=WORDS, num_items_in_batch=count).loss, whole)
    assert torch.allclose(model(ids(), labels=WORDS, num_items_in_batch=2 * count).loss, whole / 2)


def test_one_label_of_two_is_refused(bert, ids):
    with pytest.raises(InputError, match="both of `labels` and `next_sentence_label`"):
        bert("BertForPreTraining")(ids(), labels=WORDS)
    with pytest.raises(InputError, match="both of `start_positions` and `end_positions`"):
        bert("BertForQuestionAnswering")(ids(), start_positions=torch.tensor([1, 2]))


def test_choices_need_their_own_dimension(bert, ids):
    model = bert("BertForMultipleChoice")
    with pytest.raises(InputError, match=r"shape \(2, 11\): it must be \(batch, choices, seq\)"):
        model(ids())
    with pytest.raises(InputError, match="exactly one of `input_ids` and `inputs_embeds`"):
        model()
