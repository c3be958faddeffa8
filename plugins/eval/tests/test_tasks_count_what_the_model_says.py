"""Each task's numbers, from predictions made with the model by hand."""

import json

import numpy as np
import pytest
import torch
from transept_eval import Metric

import transept
from transept import evaluate, load_metric

SENTENCES = [
    "the quick brown fox",
    "maria lives in rome",
    "a decision surprised everybody in brussels yesterday near the old town hall",
    "my name is wolfgang",
    "humidity",
    "we measured pressure every morning",
    "anna works for the bank",
]


def logits_of(folder, door, texts, pairs=None):
    model, tokenizer = getattr(transept, door).from_pretrained(folder), transept.AutoTokenizer.from_pretrained(folder)
    rows = []
    for place, text in enumerate(texts):
        inputs = tokenizer(text, None if pairs is None else pairs[place], return_tensors="pt")
        with torch.no_grad():
            rows.append(model(**inputs).logits[0])
    return torch.stack(rows)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_one_label(checkpoints, write, batch_size):
    folder = checkpoints("two")
    labels = ["spam", "ham", "spam", "ham", "ham", "spam", "ham"]
    rows = [{"text": text, "label": label} for text, label in zip(SENTENCES, labels, strict=True)]
    found = evaluate(folder, write("mail.jsonl", rows), batch_size=batch_size)
    scores = logits_of(folder, "AutoModelForSequenceClassification", SENTENCES).softmax(-1)
    chosen, true = scores.argmax(-1), [int(label == "spam") for label in labels]
    assert 0 < chosen.float().mean() < 1, "both labels are said"
    assert found.task == "text-classification"
    assert list(found.metrics) == [
        "accuracy",
        "precision",
        "recall",
        "f1",
        "matthews_correlation",
        "log_loss",
        "calibration_error",
    ]
    for name in ("accuracy", "f1", "matthews_correlation"):
        assert found.metrics[name] == pytest.approx(load_metric(name)(chosen, true)[name])
    assert found.metrics["log_loss"] == pytest.approx(load_metric("log_loss")(scores, true)["log_loss"], rel=1e-5)
    assert [row["prediction"] for row in found.predictions] == [["ham", "spam"][each] for each in chosen]
    assert [row["text"] for row in found.predictions] == SENTENCES
    assert found.predictions[2]["score"] == pytest.approx(float(scores[2].max()), abs=1e-5)


def test_labels_by_number_and_in_a_table(checkpoints, write):
    folder = checkpoints("three")
    table = "body,grade\n" + "".join(f'"{text}",{place % 3}\n' for place, text in enumerate(SENTENCES))
    found = evaluate(folder, write("t.csv", table), columns={"text": "body", "label": "grade"})
    chosen = logits_of(folder, "AutoModelForSequenceClassification", SENTENCES).argmax(-1).numpy()
    assert found.metrics["accuracy"] == pytest.approx((chosen == np.arange(7) % 3).mean())
    assert "f1_macro" in found.metrics
    matrix = next(chart for chart in found.charts if chart.title == "Confusion matrix")
    assert np.array(matrix.counts).sum() == 7
    assert np.trace(matrix.counts) == (chosen == np.arange(7) % 3).sum()
    assert np.array(matrix.counts).sum(0).tolist() == np.bincount(chosen, minlength=3).tolist()


def test_pairs_and_chosen_metrics(checkpoints):
    folder = checkpoints("two")
    rows = [{"sentence1": text, "sentence2": SENTENCES[0], "label": place % 2} for place, text in enumerate(SENTENCES)]
    mine = Metric("ones", lambda predictions, references: {"ones": float(np.mean(predictions))}, "labels")
    found = evaluate(folder, rows, metrics=["roc_auc", mine])
    scores = logits_of(folder, "AutoModelForSequenceClassification", SENTENCES, [SENTENCES[0]] * 7).softmax(-1)
    assert list(found.metrics) == ["roc_auc", "ones"]
    assert found.metrics["ones"] == pytest.approx(float(scores.argmax(-1).float().mean()))
    assert found.metrics["roc_auc"] == pytest.approx(load_metric("roc_auc")(scores, np.arange(7) % 2)["roc_auc"])
    assert found.predictions[1]["text_pair"] == SENTENCES[0]


def test_texts_that_are_too_long_are_cut_and_said_so(checkpoints):
    rows = [{"text": "fox " * 200, "label": "ham"}, {"text": "fox", "label": "ham"}]
    found = evaluate(checkpoints("two"), rows)
    assert "1 of 2 texts were cut to 64 tokens." in found.notes
    assert "2 of 2 texts were cut to 2 tokens." in evaluate(checkpoints("two"), rows, max_length=2).notes


def test_several_labels(checkpoints):
    folder = checkpoints("several")
    true = [["a"], ["b", "c"], [], ["a", "b", "c"], ["c"], [0], [2, 1]]
    found = evaluate(folder, [{"text": text, "labels": each} for text, each in zip(SENTENCES, true, strict=True)])
    chosen = (logits_of(folder, "AutoModelForSequenceClassification", SENTENCES) > 0).long()
    wanted = np.array([[int(name in each or number in each) for number, name in enumerate("abc")] for each in true])
    assert found.metrics["f1_micro"] == pytest.approx(load_metric("f1_micro")(chosen, wanted)["f1_micro"])
    assert found.metrics["accuracy"] == pytest.approx(float((chosen.numpy() == wanted).all(1).mean()))
    assert found.predictions[5]["label"] == ["a"]


def test_a_number(checkpoints, write):
    folder = checkpoints("number")
    rows = [{"text": text, "score": place / 2} for place, text in enumerate(SENTENCES)]
    found = evaluate(folder, write("n.jsonl", rows), "text-classification")
    values = logits_of(folder, "AutoModelForSequenceClassification", SENTENCES)[:, 0].double()
    wanted = torch.arange(7).double() / 2
    assert found.metrics["mse"] == pytest.approx(float(((values - wanted) ** 2).mean()), rel=1e-5)
    assert found.metrics["pearson"] == pytest.approx(float(torch.corrcoef(torch.stack([values, wanted]))[0, 1]), rel=1e-4)


NER_WORDS = [text.split() for text in SENTENCES]


def test_tags(checkpoints, write):
    folder = checkpoints("ner")
    model, tokenizer = (
        transept.AutoModelForTokenClassification.from_pretrained(folder),
        transept.AutoTokenizer.from_pretrained(folder),
    )
    names, ours = model.config.id2label, []
    for words in NER_WORDS:
        inputs = tokenizer(words, is_split_into_words=True, return_tensors="pt")
        chosen, ids = model(**inputs).logits[0].argmax(-1).tolist(), inputs.word_ids()
        ours.append([names[chosen[ids.index(place)]] for place in range(len(words))])
    assert any(
        len(inputs.word_ids()) > len(words) + 2
        for words in NER_WORDS
        for inputs in [tokenizer(words, is_split_into_words=True)]
    )
    true = [
        [list(names.values())[(place + number) % 5] for number in range(len(words))] for place, words in enumerate(NER_WORDS)
    ]
    lines = "".join(
        "".join(f"{word} X {tag}\n" for word, tag in zip(words, tags, strict=True)) + "\n"
        for words, tags in zip(NER_WORDS, true, strict=True)
    )
    found = evaluate(folder, write("t.conll", "-DOCSTART- X O\n\n" + lines), batch_size=3)
    assert found.metrics == pytest.approx(load_metric("seqeval")(ours, true))
    assert [row["prediction"] for row in found.predictions] == ours
    numbers = [[list(names.values()).index(tag) for tag in row] for row in true]
    rows = [{"tokens": words, "ner_tags": tags} for words, tags in zip(NER_WORDS, numbers, strict=True)]
    again = evaluate(model, rows, tokenizer=tokenizer, metrics=["accuracy", "seqeval"])
    assert again.metrics["f1"] == pytest.approx(found.metrics["f1"])
    assert again.metrics["accuracy_accuracy"] == again.metrics["seqeval_accuracy"] == pytest.approx(found.metrics["accuracy"])


def test_words_past_the_end_count_as_outside(checkpoints):
    folder = checkpoints("ner")
    tokens = len(transept.AutoTokenizer.from_pretrained(folder)("fox")["input_ids"]) - 2
    seen = (64 - 2) // tokens
    found = evaluate(folder, [{"tokens": ["fox"] * 100, "tags": ["B-PER"] * 100}])
    assert found.predictions[0]["prediction"][seen:] == ["O"] * (100 - seen)
    assert f"{100 - seen} words" in found.notes[0]


def test_answers(checkpoints, write):
    folder = checkpoints("qa")
    context = "maria lives in rome and anna works for the river bank in hamburg near the old town hall"
    questions = ["where is maria?", "where is anna?", "who is wolfgang?"]
    pipe = transept.pipeline("question-answering", folder)
    settings = {"max_answer_len": 30, "handle_impossible_answer": True}
    ours = [pipe(question=question, context=context, **settings)["answer"] for question in questions]
    answers = [{"text": ["rome", ours[0]], "answer_start": [15, 0]}, {"text": ["hamburg"], "answer_start": [0]}, {"text": []}]
    rows = [{"question": q, "answers": a} for q, a in zip(questions, answers, strict=True)]
    nested = {"version": "x", "data": [{"title": "t", "paragraphs": [{"context": context, "qas": rows}]}]}
    found = evaluate(folder, write("squad.json", json.dumps(nested)), batch_size=2)
    assert [row["prediction"] for row in found.predictions] == ours
    wanted = [["rome", ours[0]], ["hamburg"], [""]]
    assert found.metrics["f1"] == pytest.approx(load_metric("squad")(ours, wanted)["f1"])
    assert found.metrics["has_answer_exact_match"] >= 0.5
    assert found.metrics["no_answer_accuracy"] == float(ours[2] == "")


@pytest.mark.parametrize("kind", ["llama", "bart"])
def test_generated_texts(checkpoints, write, kind):
    folder = checkpoints(kind)
    door = transept.AutoModelForCausalLM if kind == "llama" else transept.AutoModelForSeq2SeqLM
    model, tokenizer = door.from_pretrained(folder), transept.AutoTokenizer.from_pretrained(folder)
    prompts = ["Anna", "My name is Wolfgang and I live", "The fox"]
    ours = []
    for prompt in prompts:
        inputs = tokenizer(prompt, return_tensors="pt")
        inputs.pop("token_type_ids", None)
        output = model.generate(**inputs, max_new_tokens=7, do_sample=False)
        new = output[0, inputs["input_ids"].shape[1] :] if kind == "llama" else output[0]
        ours.append(tokenizer.decode(new, skip_special_tokens=True).strip())
    references = [ours[0], ["no", ours[1]], "nothing like it"]
    rows = [{"prompt": p, "reference": r} for p, r in zip(prompts, references, strict=True)]
    found = evaluate(folder, write("g.jsonl", rows), batch_size=2, max_new_tokens=7)
    assert found.task == "text-generation"
    assert [row["prediction"] for row in found.predictions] == ours
    assert found.metrics["exact_match"] == pytest.approx(2 / 3)
    assert {"rouge1", "rougeL", "bleu", "chrf"} <= set(found.metrics)
    assert found.settings["max_new_tokens"] == 7


def test_chats(checkpoints):
    folder = checkpoints("llama")
    question = "Who is Anna"
    messages = [{"role": "user", "content": question}]
    pipe = transept.pipeline("text-generation", folder)
    said = pipe(messages, max_new_tokens=5, do_sample=False, return_full_text=False)[0]["generated_text"].strip()
    for prompt, options in ((question, {"chat": True}), (messages, {})):
        found = evaluate(folder, [{"prompt": prompt, "reference": said}], max_new_tokens=5, **options)
        assert found.predictions[0]["prediction"] == said
        assert found.metrics["exact_match"] == 1
    prefixed = evaluate(folder, [{"prompt": "Anna", "reference": "x"}], max_new_tokens=5, prefix="Who is ")
    assert (
        prefixed.predictions[0]["prediction"]
        == pipe("Who is Anna", max_new_tokens=5, do_sample=False, return_full_text=False)[0]["generated_text"].strip()
    )


def test_a_limit_takes_the_first_and_progress_is_told(checkpoints):
    told = []
    rows = ({"text": text, "label": "ham"} for text in SENTENCES)
    found = evaluate(checkpoints("two"), rows, limit=5, batch_size=2, progress=lambda done, total: told.append((done, total)))
    assert found.examples == 5
    assert told == [(2, 5), (4, 5), (5, 5)]


def test_a_model_of_the_peer(checkpoints):
    transformers = pytest.importorskip("transformers")
    folder = checkpoints("two")
    rows = [{"text": text, "label": place % 2} for place, text in enumerate(SENTENCES)]
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    found = evaluate(theirs, rows, tokenizer=transformers.AutoTokenizer.from_pretrained(folder))
    assert found.metrics == pytest.approx(evaluate(folder, rows).metrics, rel=1e-4)


def test_a_dataset_of_the_library_datasets(checkpoints):
    datasets = pytest.importorskip("datasets")
    rows = [{"text": text, "label": place % 2} for place, text in enumerate(SENTENCES)]
    found = evaluate(checkpoints("two"), datasets.Dataset.from_list(rows))
    assert found.metrics == evaluate(checkpoints("two"), rows).metrics


def test_a_long_text_in_a_table_and_lines_of_other_systems(checkpoints, write):
    table = 'text,label\r\n"' + "fox " * 50000 + '\r\nand dog",ham\r\n\r\nthe\u2028dog,spam\r\n'
    found = evaluate(checkpoints("two"), write("t.csv", table))
    assert [row["label"] for row in found.predictions] == ["ham", "spam"]
    assert found.predictions[1]["text"] == "the\u2028dog"
    assert "1 of 2 texts were cut" in " ".join(found.notes)
