"""`make_compute_metrics`: from what a trainer has to the numbers that the metrics give."""

from types import SimpleNamespace

import numpy as np
import pytest

import transept
from transept import load_metric, make_compute_metrics

RNG = np.random.default_rng(0)


def prediction(predictions, label_ids):
    return SimpleNamespace(predictions=predictions, label_ids=label_ids)


def test_classes():
    logits, labels = RNG.normal(size=(9, 3)), RNG.integers(0, 3, 9)
    compute = make_compute_metrics("accuracy", "f1_macro", "log_loss")
    chosen = logits.argmax(1)
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = (
        load_metric("accuracy")(chosen, labels)
        | load_metric("f1_macro")(chosen, labels)
        | load_metric("log_loss")(scores, labels)
    )
    assert compute(prediction(logits, labels)) == pytest.approx(expected)
    assert compute((logits, labels)) == pytest.approx(expected)
    assert compute(prediction((logits, RNG.normal(size=(9, 4))), labels)) == pytest.approx(expected), "hidden states come after"


def test_several_labels_and_numbers():
    logits, labels = RNG.normal(size=(9, 3)), RNG.integers(0, 2, (9, 3))
    found = make_compute_metrics("f1_micro", multi_label=True)(prediction(logits, labels))
    assert found == pytest.approx(load_metric("f1_micro")(logits > 0, labels))
    values = RNG.normal(size=(9, 1))
    assert make_compute_metrics("mse")(prediction(values, values[:, 0] + 2)) == pytest.approx({"mse": 4.0})


def test_tags_and_their_padding():
    names = {0: "O", 1: "B-PER", 2: "I-PER"}
    logits = np.eye(3)[[[1, 2, 0, 0], [0, 1, 1, 1]]]
    labels = np.array([[1, 2, -100, 0], [-100, 1, 2, -100]])
    found = make_compute_metrics("seqeval", id2label=names)(prediction(logits, labels))
    assert found == pytest.approx(
        load_metric("seqeval")([["B-PER", "I-PER", "O"], ["B-PER", "B-PER"]], [["B-PER", "I-PER", "O"], ["B-PER", "I-PER"]])
    )
    assert make_compute_metrics("accuracy")(prediction(logits, labels)) == pytest.approx({"accuracy": 4 / 5})


def test_generated_ids(checkpoints):
    tokenizer = transept.AutoTokenizer.from_pretrained(checkpoints("llama"))
    ours, true = "The quick brown fox", "The quick dog"
    rows = [tokenizer(text)["input_ids"] for text in (ours, true)]
    width = max(map(len, rows)) + 2
    ids, labels = [np.array([row + [fill] * (width - len(row))]) for row, fill in zip(rows, (0, -100), strict=True)]
    found = make_compute_metrics("rouge", "exact_match", tokenizer=tokenizer)(prediction(ids, labels))
    assert found == pytest.approx(load_metric("rouge")([ours], [true]) | {"exact_match": 0.0})


def test_perplexity_of_logits():
    logits, labels = RNG.normal(size=(2, 5, 7)), RNG.integers(0, 7, (2, 5))
    assert make_compute_metrics("perplexity")(prediction(logits, labels)) == load_metric("perplexity")(logits, labels)


def test_names_that_two_metrics_have():
    logits, labels = np.eye(3)[[[1, 2, 0]]], np.array([[1, 2, 0]])
    found = make_compute_metrics("seqeval", "accuracy", id2label={0: "O", 1: "B-A", 2: "I-A"})(prediction(logits, labels))
    assert set(found) == {"precision", "recall", "f1", "seqeval_accuracy", "accuracy_accuracy"}


@pytest.mark.parametrize("library", ["transept", "transformers"])
def test_a_real_trainer(checkpoints, tmp_path, library):
    """Its numbers are those of `evaluate` on the same examples."""
    made = transept if library == "transept" else pytest.importorskip(library)
    if library == "transept":
        pytest.importorskip("transept_trainer")
    folder = checkpoints("two")
    texts = ["the quick brown fox", "maria lives in rome", "humidity", "my name is wolfgang", "anna works"]
    labels = [0, 1, 1, 0, 1]
    tokenizer = made.AutoTokenizer.from_pretrained(folder)
    examples = [{**tokenizer(text), "label": label} for text, label in zip(texts, labels, strict=True)]
    trainer = made.Trainer(
        model=made.AutoModelForSequenceClassification.from_pretrained(folder),
        args=made.TrainingArguments(
            output_dir=str(tmp_path), per_device_eval_batch_size=2, report_to="none", disable_tqdm=True, use_cpu=True
        ),
        eval_dataset=examples,
        processing_class=tokenizer,
        compute_metrics=make_compute_metrics("accuracy", "f1", "log_loss"),
    )
    found = trainer.evaluate()
    rows = [{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)]
    expected = transept.evaluate(folder, rows, metrics=["accuracy", "f1", "log_loss"]).metrics
    assert {name: found[f"eval_{name}"] for name in expected} == pytest.approx(expected, rel=1e-4)
