"""Losses are the peer's; labels that don't fit are refused in words."""

from types import SimpleNamespace

import pytest
import torch
from transformers.loss import loss_utils as peer

from transept.errors import ConfigError, InputError
from transept.nn import losses


@pytest.fixture
def logits():
    return torch.randn(3, 6, 11, generator=torch.Generator().manual_seed(0), requires_grad=True)


@pytest.fixture
def labels():
    labels = torch.randint(0, 11, (3, 6), generator=torch.Generator().manual_seed(1))
    labels[0, :2] = -100
    return labels


@pytest.mark.parametrize("num_items", [None, 7, torch.tensor(9)])
@pytest.mark.parametrize("ignore_index", [-100, 4])
def test_causal_lm_loss(logits, labels, num_items, ignore_index):
    labels = labels.clamp(min=0) if ignore_index == 4 else labels
    arguments = {"num_items_in_batch": num_items, "ignore_index": ignore_index}
    ours = losses.causal_lm_loss(logits, labels, 11, **arguments)
    theirs = peer.ForCausalLMLoss(logits, labels, 11, **arguments)
    assert torch.equal(ours, theirs)
    assert torch.equal(*(torch.autograd.grad(loss, logits)[0] for loss in (ours, theirs)))


def test_causal_lm_loss_of_shifted_labels(logits, labels):
    ours = losses.causal_lm_loss(logits, shift_labels=labels)
    assert torch.equal(ours, peer.ForCausalLMLoss(logits, None, 11, shift_labels=labels))


def test_causal_lm_loss_is_taken_in_float32(logits, labels):
    narrow = logits.detach().bfloat16()
    assert losses.causal_lm_loss(narrow, labels).dtype == torch.float32
    assert torch.equal(losses.causal_lm_loss(narrow, labels), losses.causal_lm_loss(narrow.float(), labels))


def test_masked_and_token_losses(logits, labels):
    config = SimpleNamespace(num_labels=11)
    assert torch.equal(losses.masked_lm_loss(logits, labels), peer.ForMaskedLMLoss(logits, labels, 11))
    assert torch.equal(losses.token_classification_loss(logits, labels), peer.ForTokenClassification(logits, labels, config))


@pytest.mark.parametrize("problem_type", [None, "regression", "single_label_classification", "multi_label_classification"])
@pytest.mark.parametrize(
    ("num_labels", "labels"),
    [
        (1, torch.tensor([0.5, 1.5, -1.0])),
        (4, torch.tensor([0, 3, 2])),
        (4, torch.tensor([[0.0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]])),
    ],
    ids=["numbers", "classes", "sets"],
)
def test_sequence_classification_loss(problem_type, num_labels, labels):
    logits = torch.randn(3, num_labels, generator=torch.Generator().manual_seed(2))
    config = SimpleNamespace(num_labels=num_labels, problem_type=problem_type)
    try:
        expected = peer.ForSequenceClassificationLoss(labels, logits, config)
    except (RuntimeError, ValueError):
        with pytest.raises(InputError):
            losses.sequence_classification_loss(logits, labels, problem_type)
    else:
        torch.testing.assert_close(losses.sequence_classification_loss(logits, labels, problem_type), expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_class_ids_may_have_any_integer_dtype(logits, dtype):
    """NumPy's are int32 on some platforms, and the peer refuses those."""
    labels = torch.arange(18).reshape(3, 6) % 11
    wide = (losses.masked_lm_loss(logits, labels), losses.causal_lm_loss(logits, labels))
    narrow = (losses.masked_lm_loss(logits, labels.to(dtype)), losses.causal_lm_loss(logits, labels.to(dtype)))
    assert torch.equal(torch.stack(wide), torch.stack(narrow))
    first, last = torch.tensor([0, 5, 3]), torch.tensor([1, 2, 40])
    spans = logits[..., 0], logits[..., 1]
    assert torch.equal(
        losses.question_answering_loss(*spans, first, last),
        losses.question_answering_loss(*spans, first.to(dtype), last.to(dtype)),
    )


def test_unknown_problem_type():
    with pytest.raises(ConfigError, match="`problem_type` is `ranking`"):
        losses.sequence_classification_loss(torch.zeros(2, 2), torch.zeros(2, 2), "ranking")


def test_question_answering_loss():
    start, end = torch.randn(2, 4, 9)
    first, last = torch.tensor([0, 5, 30, -3]), torch.tensor([[1], [8], [40], [2]])
    ours = losses.question_answering_loss(start, end, first, last)
    assert torch.equal(ours, peer.ForQuestionAnsweringLoss(start, end, first, last))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: losses.causal_lm_loss(torch.zeros(2, 1, 5), torch.zeros(2, 7, dtype=torch.long)),
            r"\(2, 7\); the logits need \(2, 1\)",
        ),
        (lambda: losses.causal_lm_loss(torch.zeros(2, 7, 5), torch.full((2, 7), 5)), "outside the 5 classes"),
        (lambda: losses.causal_lm_loss(torch.zeros(2, 7, 5)), "needs `labels`"),
        (lambda: losses.causal_lm_loss(torch.zeros(2, 7, 5), torch.zeros(2, 7, dtype=torch.long), 6), "`vocab_size` is 6"),
        (
            lambda: losses.sequence_classification_loss(torch.zeros(3, 2), torch.zeros(2, dtype=torch.long)),
            "`labels` has shape",
        ),
        (
            lambda: losses.question_answering_loss(
                *torch.zeros(2, 3, 4), torch.zeros(2, dtype=torch.long), torch.zeros(3, dtype=torch.long)
            ),
            "`start_positions` has shape",
        ),
        (lambda: losses.masked_lm_loss(torch.zeros(2, 7, 5), torch.zeros(2, 7)), "`labels` are torch.float32"),
        (lambda: losses.causal_lm_loss(torch.zeros(1, 2, 5), [[1, 2]]), "`labels` is a list"),
        (lambda: losses.sequence_classification_loss(torch.zeros(2, 3), [1, 2]), "`labels` is a list"),
        (lambda: losses.question_answering_loss(*torch.zeros(2, 1, 4), 1, 2), "`start_positions` is a int"),
    ],
)
def test_labels_that_do_not_fit_are_refused(call, words):
    with pytest.raises(InputError, match=words):
        call()
