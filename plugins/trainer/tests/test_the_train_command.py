"""`transept train CONFIG.yaml`: real weights, real files, a plan, and clear refusals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from transept_trainer.preparing import prepare
from transept_trainer.recipe import read_recipe

from transept.errors import ConfigError, InputError, TranseptError

SENTENCES = [
    ("the film was a joy from start to end", "good"),
    ("a dull and lifeless evening", "bad"),
    ("I would see it again tomorrow", "good"),
    ("nothing in it works", "bad"),
]


@pytest.fixture
def recipe(tmp_path: Path, minilm_folder: Path) -> dict[str, Any]:
    """A small classification on MiniLM, with a fifth held out."""
    rows = [{"review": f"{text} {n}", "verdict": label} for n in range(10) for text, label in SENTENCES]
    (tmp_path / "reviews.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return {
        "model": str(minilm_folder),
        "task": "sequence_classification",
        "data": {"train": "reviews.jsonl", "eval": 0.2, "text": "review", "label": "verdict", "max_length": 32},
        "training": {
            "output_dir": str(tmp_path / "out"),
            "num_train_epochs": 2,
            "per_device_train_batch_size": 8,
            "learning_rate": 5e-4,
            "eval_strategy": "epoch",
            "save_strategy": "epoch",
            "use_cpu": True,
        },
    }


def written(recipe: dict[str, Any], folder: Path) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def transept(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "transept_cli", *arguments], capture_output=True, text=True, check=False, env=environment
    )


@pytest.mark.slow
def test_plan_train_and_resume(recipe: dict[str, Any], tmp_path: Path) -> None:
    path = written(recipe, tmp_path)
    plan = transept("train", str(path), "--dry-run")
    assert plan.returncode == 0, plan.stderr
    lines = dict(line.split(": ", 1) for line in plan.stdout.strip().splitlines())
    assert lines["model"].startswith("BertForSequenceClassification, 22,")
    assert lines["data"] == "32 examples of up to 12 tokens, 8 held out"
    assert lines["steps"] == "8 (4 an epoch; 8 a batch = 8 examples a step)"
    assert "weights 91 MB, gradients 91 MB, optimizer 182 MB" in lines["memory"]
    assert lines["kernels"] == "sdpa in 6 layers"
    assert lines["rewrites"]
    assert not (tmp_path / "out").exists(), "a plan writes nothing"
    done = transept("train", str(path))
    assert done.returncode == 0, done.stderr
    assert "Trained 8 steps" in done.stdout
    assert "not in the checkpoint" in done.stderr
    found = json.loads((tmp_path / "out" / "all_results.json").read_text())
    assert found["eval_accuracy"] >= 0.75
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["id2label"] == {"0": "bad", "1": "good"}
    from transept import pipeline

    answer = pipeline("text-classification", model=str(tmp_path / "out"))("nothing in it works 3")
    assert answer[0]["label"] == "bad"
    recipe["training"]["num_train_epochs"] = 3
    more = transept("train", str(written(recipe, tmp_path)), "--resume")
    assert more.returncode == 0, more.stderr
    assert "Trained 12 steps" in more.stdout


def test_a_language_model_from_nothing(tmp_path: Path, minilm_folder: Path) -> None:
    (tmp_path / "text.txt").write_text("In the beginning was the word. " * 200)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    recipe = {
        "config": {"model_type": "llama", "vocab_size": 30522, **size},
        "tokenizer": str(minilm_folder),
        "task": "causal_lm",
        "data": {"train": "text.txt", "eval": 0.1, "max_length": 32},
        "training": {"output_dir": str(tmp_path / "out"), "max_steps": 3, "use_cpu": True, "save_strategy": "no"},
        "early_stopping": {"patience": 2},
    }
    prepared = prepare(read_recipe(written(recipe, tmp_path)))
    assert {len(row["input_ids"]) for row in [*prepared.train, *prepared.evaluation]} == {32}
    assert type(prepared.model).__name__ == "LlamaForCausalLM"
    assert [type(one).__name__ for one in prepared.callbacks] == ["EarlyStoppingCallback"]


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"taks": "causal_lm"}, ConfigError, "no key `taks`. Did you mean `task`"),
        ({"data": {"train": "reviews.jsonl", "txet": "review"}}, ConfigError, "no key `data.txet`. Did you mean `text`"),
        ({"data": {"train": "missing.jsonl"}}, ConfigError, "names the data `missing.jsonl`"),
        ({"data": {"text": "review"}}, ConfigError, "`data.train` is missing"),
        ({"task": "translation"}, ConfigError, "`task`: Input should be"),
        ({"model": None}, ConfigError, "give one of `model` and `config`"),
        ({"training": {"lerning_rate": 1}}, TranseptError, "Did you mean `learning_rate`"),
        ({"data": {"train": "reviews.jsonl"}}, InputError, "Example 0 has no `label`: it has `review`, `verdict`"),
        ({"data": {"train": "reviews.jsonl", "label": "verdict"}}, InputError, "no text `text`"),
        ({"data": {"train": "recipe.yaml"}}, InputError, "come as .jsonl"),
        ({"data": {"train": "reviews.jsonl", "text": "review", "label": "verdict", "eval": 0.001}}, ConfigError, "holds out 0"),
    ],
    ids=["key", "nested", "file", "missing", "task", "model", "argument", "label", "text", "kind", "share"],
)  # fmt: skip
def test_what_is_refused(
    recipe: dict[str, Any], tmp_path: Path, change: dict[str, Any], error: type[Exception], said: str
) -> None:
    path = written({**recipe, **change}, tmp_path)
    with pytest.raises(error, match=said):
        prepare(read_recipe(path))


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    for text, said in (("a: [", "no YAML"), ("- one", "no mapping")):
        path.write_text(text)
        with pytest.raises(ConfigError, match=said):
            read_recipe(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_recipe(tmp_path / "none.yaml")
