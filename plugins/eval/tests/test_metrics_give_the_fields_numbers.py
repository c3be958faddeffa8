"""Each metric against a number worked out by hand, or by its defining formula."""

import math

import numpy as np
import pytest
import torch
from transept_eval import metric_names
from transept_eval.metrics.entities import entities_of

from transept import load_metric
from transept.discovery import registry

OURS = [0, 1, 1, 0, 1, 0, 1, 1]
TRUE = [0, 1, 0, 0, 1, 1, 1, 0]  # of class 1: 3 right, 5 said, 4 true


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("accuracy", 5 / 8),
        ("precision", 3 / 5),
        ("recall", 3 / 4),
        ("f1", 6 / 9),
        ("precision_macro", (3 / 5 + 2 / 3) / 2),
        ("recall_macro", (3 / 4 + 2 / 4) / 2),
        ("balanced_accuracy", (3 / 4 + 2 / 4) / 2),
        ("f1_macro", (6 / 9 + 4 / 7) / 2),
        ("f1_micro", 5 / 8),
        ("precision_micro", 5 / 8),
        ("recall_micro", 5 / 8),
        ("f1_weighted", (6 / 9 + 4 / 7) / 2),
        ("precision_weighted", (3 / 5 + 2 / 3) / 2),
        ("recall_weighted", 5 / 8),
        ("matthews_correlation", (3 * 2 - 2 * 1) / math.sqrt(5 * 4 * 4 * 3)),
        ("cohen_kappa", (5 / 8 - 1 / 2) / (1 / 2)),
    ],
)
def test_labels(name, value):
    for given in ((OURS, TRUE), (torch.tensor(OURS), torch.tensor(TRUE)), (np.array(OURS), np.array(TRUE))):
        assert load_metric(name)(*given)[name] == pytest.approx(value)


SCORES = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.65, 0.35]])
LABELS = np.array([0, 0, 1, 1])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("roc_auc", 3 / 4),  # of four pairs one is in the wrong order
        ("average_precision", (1 / 1 + 2 / 3) / 2),
        ("log_loss", -(math.log(0.9) + math.log(0.4) + math.log(0.8) + math.log(0.35)) / 4),
        ("brier_score", 2 * (0.1**2 + 0.6**2 + 0.2**2 + 0.65**2) / 4),
        ("calibration_error", (abs(1 - 0.9) + abs(0 - 0.6) + abs(1 - 0.8) + abs(0 - 0.65)) / 4),
        ("top_5_accuracy", 1.0),
    ],
)
def test_scores(name, value):
    assert load_metric(name)(SCORES, LABELS)[name] == pytest.approx(value)


def test_scores_of_several_classes():
    scores = np.eye(7)[[0, 1, 2, 3, 4, 5]] * 0.4 + 0.6 / 7
    assert load_metric("roc_auc")(scores[:3], [0, 1, 2])["roc_auc"] == 1.0
    ranked = np.tile(np.array([0.3, 0.2, 0.15, 0.12, 0.1, 0.08, 0.05]), (7, 1))
    assert load_metric("top_5_accuracy")(ranked, range(7))["top_5_accuracy"] == pytest.approx(5 / 7)


def test_calibration_bins_hold_their_upper_end():
    scores = np.array([[0.5, 0.5], [1.0, 0.0]])
    assert load_metric("calibration_error", bins=2)(scores, [0, 0])["calibration_error"] == pytest.approx((0.5 + 0.0) / 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [("mse", (1 + 0 + 4) / 3), ("mae", 1.0), ("r2", 1 - 5 / 2), ("pearson", 0.5), ("spearman", 0.5)],
)
def test_values(name, value):
    assert load_metric(name)([2.0, 2.0 + 1e-12, 5.0] if name == "mse" else [2.0, 2.0, 5.0], [1.0, 2.0, 3.0])[
        name
    ] == pytest.approx({"pearson": math.sqrt(3) / 2, "spearman": math.sqrt(3) / 2}.get(name, value))


@pytest.mark.parametrize("shift", [True, False])
def test_perplexity_is_torchs_cross_entropy(shift):
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 6, 11) * 3, torch.randint(0, 11, (3, 6))
    labels[0, 3:] = -100
    ours, true = (logits[:, :-1], labels[:, 1:]) if shift else (logits, labels)
    loss = torch.nn.functional.cross_entropy(ours.reshape(-1, 11).double(), true.reshape(-1))
    found = load_metric("perplexity", shift=shift)(logits, labels)
    assert found == {"perplexity": pytest.approx(loss.exp().item()), "nll": pytest.approx(loss.item())}


@pytest.mark.parametrize(
    ("tags", "entities"),
    [
        ("B-PER I-PER O B-LOC", [("PER", 0, 1), ("LOC", 3, 3)]),
        ("B-PER B-PER I-LOC", [("PER", 0, 0), ("PER", 1, 1), ("LOC", 2, 2)]),
        ("I-PER I-PER O I-PER", [("PER", 0, 1), ("PER", 3, 3)]),
        ("S-PER B-LOC I-LOC E-LOC S-LOC", [("PER", 0, 0), ("LOC", 1, 3), ("LOC", 4, 4)]),
        ("U-PER B-LOC L-LOC", [("PER", 0, 0), ("LOC", 1, 2)]),
        ("I-PER E-PER E-PER", [("PER", 0, 1), ("PER", 2, 2)]),
        ("B-X-Y I-X-Y", [("X-Y", 0, 1)]),
        ("PER PER O", [("PER", 0, 1)]),
        ("B I O I", [("_", 0, 1), ("_", 3, 3)]),
        ("O O", []),
        ("", []),
    ],
)
def test_entities_out_of_tags(tags, entities):
    assert entities_of(tags.split()) == entities


def test_whole_entities_count():
    true = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-LOC"]]
    ours = [["B-PER", "O", "O", "B-LOC"], ["O", "B-PER"]]  # one of three found, one of three true
    found = load_metric("seqeval")(ours, true)
    assert found == {
        "precision": pytest.approx(1 / 3),
        "recall": pytest.approx(1 / 3),
        "f1": pytest.approx(1 / 3),
        "accuracy": 4 / 6,
    }


def test_rouge():
    found = load_metric("rouge")(["the cat sat", "a dog"], [["the cat sat down"], ["no", "a dog"]])
    assert found["rouge1"] == pytest.approx((2 * 3 / 7 + 1) / 2)
    assert found["rouge2"] == pytest.approx((2 * 2 / 5 + 1) / 2)
    assert found["rougeL"] == found["rougeLsum"] == pytest.approx((2 * 3 / 7 + 1) / 2)
    assert load_metric("rouge", use_stemmer=True)(["running dogs"], ["run dog"])["rouge1"] == 1.0


def test_bleu_chrf_and_ter():
    same = ["The committee met on Monday and decided nothing at all."]
    assert load_metric("bleu")(same, same)["bleu"] == pytest.approx(100)
    assert load_metric("chrf")(same, same)["chrf"] == pytest.approx(100)
    assert load_metric("ter")(same, same)["ter"] == 0
    ours, true = ["one two three four five"], ["one two three four six"]
    assert load_metric("bleu")(ours, true)["bleu"] == pytest.approx(100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
    assert load_metric("ter")(ours, true)["ter"] == pytest.approx(20)
    assert load_metric("bleu", lowercase=True)(["A b c d"], ["a B c d"])["bleu"] == pytest.approx(100)


def test_references_may_differ_in_number():
    ours = ["one two three four", "five six seven eight"]
    for name in ("bleu", "chrf"):
        assert load_metric(name)(ours, [["else", "one two three four"], ["five six seven eight"]])[name] == pytest.approx(100)


def test_exact_match():
    ours = [" Paris ", "paris", "Rome."]
    true = ["Paris", "Paris", "Rome"]
    assert load_metric("exact_match")(ours, true)["exact_match"] == pytest.approx(1 / 3)
    assert load_metric("exact_match", ignore_case=True)(ours, true)["exact_match"] == pytest.approx(2 / 3)
    assert load_metric("exact_match", ignore_case=True, ignore_punctuation=True)(ours, true)["exact_match"] == 1


def test_squads_answers_are_normalised():
    ours = ["The Eiffel Tower!", "in Paris, France", "", "x"]
    true = [["eiffel tower"], ["Rome", "Paris"], [""], [""]]
    found = load_metric("squad")(ours, true)
    assert found == {"exact_match": 2 / 4, "f1": pytest.approx((1 + 2 / 4 + 1 + 0) / 4)}


def test_several_labels_at_once():
    ours, true = [[1, 0, 1], [0, 0, 0]], [[1, 1, 0], [0, 0, 0]]
    assert load_metric("accuracy")(ours, true)["accuracy"] == 1 / 2
    assert load_metric("f1_micro")(ours, true)["f1_micro"] == pytest.approx(1 / 2)
    assert load_metric("f1_macro")(ours, true)["f1_macro"] == pytest.approx(1 / 3)


def test_each_metric_is_described_and_loads():
    names = metric_names()
    assert len(names) >= 35
    for name in names:
        assert registry.get("metrics", name).description
        assert load_metric(name).name == name
    assert "rouge" in metric_names("texts")
    assert "rouge" not in metric_names("labels")
    assert load_metric("ter").greater_is_better is False
    assert load_metric("bleu").greater_is_better is True
