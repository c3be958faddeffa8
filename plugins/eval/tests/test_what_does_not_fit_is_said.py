"""One clear error each: unknown names, files that cannot be read, columns and labels that do not fit."""

import numpy as np
import pytest

from transept import evaluate, load_metric, make_compute_metrics
from transept.errors import InputError, TranseptError, UnknownArgumentError, UnsupportedTaskError

ROWS = [{"text": "the fox", "label": "ham"}, {"text": "the dog", "label": "spam"}]


def test_an_unknown_metric():
    with pytest.raises(InputError, match=r"no metric `acuracy`\. Did you mean `accuracy`.*Installed: `accuracy`.*`ter`"):
        load_metric("acuracy")
    with pytest.raises(InputError, match=r"no metric `zzz`\. Installed"):
        evaluate("nowhere", ROWS, metrics="zzz")
    with pytest.raises(InputError, match="not a `int`"):
        load_metric(3)
    with pytest.raises(UnknownArgumentError, match=r"`chrf` has no option `wordorder`\. Did you mean `word_order`"):
        load_metric("chrf", wordorder=2)
    with pytest.raises(UnknownArgumentError, match=r"`accuracy` has no option `average`\. It takes none"):
        load_metric("accuracy", average="macro")


@pytest.mark.parametrize(
    ("name", "predictions", "references", "message"),
    [
        ("accuracy", [], [], "nothing to compare"),
        ("accuracy", [1], [1, 0], "1 predictions for 2 references"),
        ("accuracy", [0.5], [1], "compares class numbers"),
        ("accuracy", ["a"], ["a"], "compares class numbers"),
        ("accuracy", [[1, 0]], [1], r"predictions of shape \(1, 2\) for references of \(1,\)"),
        ("accuracy", [[1], [1, 2]], [[1], [1]], "rows of one length"),
        ("f1", [0, 2], [0, 1], "Use `f1_macro`, `f1_micro` or `f1_weighted`"),
        ("matthews_correlation", [[0, 1]], [[0, 1]], "one label an example"),
        ("roc_auc", [[0.5, 0.5]] * 2, [1, 1], "all references are of class 1"),
        ("log_loss", [[2.0, 3.0]], [1], "Apply a softmax"),
        ("log_loss", [[0.5, 0.5]], [2], "label 2 is out of range, for there are 2 classes"),
        ("brier_score", [[0.5, 0.5]], [-1], "label -1 is out of range"),
        ("log_loss", [0.5], [1], r"needs \(n, classes\) and \(n,\)"),
        ("perplexity", np.zeros((1, 3, 4)), [[0, 4, 1]], "label 4 is out of range"),
        ("perplexity", np.zeros((1, 3)), [[0, 1, 1]], r"needs \(n, seq, vocab\)"),
        ("pearson", [1.0, 1.0], [1.0, 2.0], "values that differ"),
        ("mse", [float("nan")], [1.0], "no finite numbers"),
        ("r2", [1.0], [1.0], "two examples or more"),
        ("seqeval", [["O"]], [["O", "O"]], "Sequence 0 has 1 predicted tags for 2"),
        ("rouge", ["a"], [[]], "example 0 has no reference"),
        ("bleu", [None], ["a"], "example 0 has others: None"),
        ("bleu", ["a"], [[3]], "compares texts"),
    ],
)
def test_what_a_metric_cannot_compare(name, predictions, references, message):
    with pytest.raises(InputError, match=message):
        load_metric(name)(predictions, references)


def test_a_metric_that_breaks_says_its_name():
    with pytest.raises(InputError, match="`bleu` cannot be computed of these"):
        load_metric("bleu", max_order="many")(["a"], ["a"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("e.jsonl", "", "`.*e.jsonl` is empty: it needs one example"),
        ("e.txt", " \n", "is empty"),
        ("e.csv", "text,label\n", "has no examples"),
        ("e.json", "[]", "has no examples"),
        ("e.jsonl", '{"text": 1}\n{"text": \n', "line 2: this is no JSON"),
        ("e.jsonl", "[1]\n", "line 1: an example is an object"),
        ("e.json", "{", "is no JSON"),
        ("e.json", '{"rows": []}', "no list of objects"),
        ("e.csv", "a,b\n1,2\n3\n", r"line 3: 1 values for 2 columns \(`a`, `b`\)"),
        ("e.csv", "a,a\n1,2\n", "columns of one name"),
        ("e.conll", "Anna B-PER\nworks\n", "line 2: a word and its tag are needed"),
        ("e.xlsx", "x", r"no file of examples that can be read: its name ends in none of `\.jsonl`"),
    ],
)
def test_files_that_cannot_be_read(write, name, content, message):
    with pytest.raises(InputError, match=message):
        evaluate("nowhere", write(name, content), "text-classification")


def test_files_that_are_not_there_or_no_text(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        evaluate("nowhere", tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes("text\nGrüße".encode("latin-1"))
    with pytest.raises(InputError, match="is not UTF-8 at byte 7"):
        evaluate("nowhere", tmp_path / "latin.csv")


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ([], "has no examples"),
        ({"test": ROWS}, r"a mapping with `test`: choose one split"),
        (["a text"], "Example 0 is a `str`"),
        (3, "`dataset` is a `int`"),
    ],
)
def test_datasets_of_other_kinds(dataset, message):
    with pytest.raises(InputError, match=message):
        evaluate("nowhere", dataset)


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([{"title": "x", "label": 0}], {}, r"no column for `text`: it has `title`, `label`.*`--column text=…`"),
        ([{"text": "x"}], {}, "no column for `label`"),
        (ROWS, {"columns": {"text": "txet"}}, r"no column `txet`\. Did you mean `text`\? It has `text`, `label`"),
        (ROWS, {"columns": {"tekst": "text"}}, r"No column is for `tekst` here\. Did you mean `text`"),
        ([{"text": 3, "label": 0}], {}, "Example 1 of .* is no text but 3"),
        ([*ROWS, {"text": "x", "label": None}], {}, "Example 3 of .* has no `label`"),
        (
            [*ROWS, {"text": "x", "label": 2}],
            {},
            "Example 3 .* the label 2 in `label` is out of range: the model has 2, from 0 to 1",
        ),
        ([{"text": "x", "label": "-1"}], {}, "label '-1' in `label` is out of range"),
        (
            [{"text": "x", "label": "span"}],
            {},
            r"the label 'span' .* none of the model's\. Did you mean `spam`\? It has `ham`, `spam`",
        ),
        ([{"text": "x", "label": 0.5}], {}, "the label 0.5 .* none of the model's"),
        (
            ROWS,
            {"metrics": ["rouge"]},
            r"`rouge` compares texts, and `text-classification` gives labels and scores and values.*`accuracy`",
        ),
        (ROWS, {"metrics": ["mse"]}, "`mse` compares values, and the model is for a classification"),
        (ROWS, {"metrics": ["accuracy", "accuracy"]}, "`accuracy` is asked for twice"),
        (ROWS, {"metrics": []}, "`metrics` names none"),
        (ROWS, {"batch_size": 0}, "`batch_size` is a number from 1 up"),
        (ROWS, {"limit": 0}, "`limit` is a number"),
        (ROWS, {"max_length": 65}, "`max_length` is 65: it goes from 1 to what the model takes, 64"),
        (
            ROWS,
            {"task": "text-clasification"},
            r"no evaluation for the task `text-clasification`\. Did you mean `text-classification`",
        ),
    ],
)
def test_examples_that_do_not_fit_the_model(checkpoints, rows, options, message):
    with pytest.raises(InputError, match=message):
        evaluate(checkpoints("two"), rows, **options)


def test_options_that_a_task_does_not_have(checkpoints):
    with pytest.raises(
        UnknownArgumentError, match=r"`text-classification` has no option `max_lenght`\. Did you mean `max_length`"
    ):
        evaluate(checkpoints("two"), ROWS, max_lenght=3)
    with pytest.raises(UnknownArgumentError, match="max_new_tokenz"):
        evaluate(checkpoints("llama"), [{"prompt": "a", "reference": "b"}], max_new_tokenz=3)


def test_models_for_another_task(checkpoints):
    with pytest.raises(UnsupportedTaskError, match="no weights for the head"):
        evaluate(checkpoints("qa"), ROWS, "text-classification")
    with pytest.raises(InputError, match="`language-modeling` is for decoders, and `bart` is an encoder-decoder"):
        evaluate(checkpoints("bart"), [{"text": "a"}], "language-modeling")
    with pytest.raises(InputError, match="`chat` is for decoders"):
        evaluate(checkpoints("bart"), [{"prompt": "a", "reference": "b"}], chat=True)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tokens": ["a", "b"], "tags": ["O"]}, "`tags` has 1 tags for 2 words"),
        ({"tokens": "a b", "tags": ["O", "O"]}, "`tokens` is no list of words"),
        ({"tokens": ["a"], "tags": [9]}, "label 9 in `tags` is out of range"),
        ({"tokens": ["a"], "tags": ["B-MISC"]}, "the tags `B-MISC`, and the model knows none of them: it has `O`"),
    ],
)
def test_tags_that_do_not_fit(checkpoints, row, message):
    with pytest.raises(InputError, match=message):
        evaluate(checkpoints("ner"), [row])


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("qa", {"question": "a", "context": "b", "answers": 3}, "`answers` holds no answers but 3"),
        ("qa", {"question": "", "context": "b", "answers": "b"}, "empty"),
        ("llama", {"prompt": 3, "reference": "b"}, "`prompt` is no text but 3"),
        ("llama", {"prompt": "a", "reference": []}, "`reference` is no text, nor a list of texts"),
    ],
)
def test_questions_and_prompts_that_do_not_fit(checkpoints, name, row, message):
    with pytest.raises(TranseptError, match=message):
        evaluate(checkpoints(name), [row])


def test_a_trainers_metrics_that_lack_something():
    with pytest.raises(InputError, match="`rouge` compares texts: pass `tokenizer=`"):
        make_compute_metrics("rouge")
    with pytest.raises(InputError, match="`seqeval` compares tags: pass `id2label=`"):
        make_compute_metrics("accuracy", "seqeval")
    with pytest.raises(InputError, match="no labels to compare with"):
        make_compute_metrics("accuracy")((np.zeros((2, 2)), None))
    with pytest.raises(InputError, match="names none"):
        make_compute_metrics()
