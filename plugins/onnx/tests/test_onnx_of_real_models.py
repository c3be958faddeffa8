"""Real weights: `transept export` writes them, pipelines take the runner, and the answers are the model's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import transept

pytest.importorskip("transept_cli", reason="the command line is not installed")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "transept_cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_an_encoder_is_exported_quantized_and_taken_by_a_pipeline(minilm_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("transept_pipelines")
    done = run("export", str(minilm_folder), str(tmp_path / "out"), "--format", "onnx", "--quantize", "int8")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("BertModel as ONNX")
    assert "of scale" in done.stdout
    assert "DIFFERS" not in done.stdout
    assert {"model.onnx", "model_quantized.onnx", "config.json", "tokenizer.json"} <= {
        f.name for f in (tmp_path / "out").iterdir()
    }
    texts = ["The cat sat on the mat.", "How do I export a model?"]
    expected = transept.pipeline("feature-extraction", model=minilm_folder)(texts, return_tensors=True, batch_size=2)
    for quantized, tolerance in ((False, 1e-4), (True, 0.2)):
        runner = transept.ORTModelForFeatureExtraction.from_pretrained(tmp_path / "out", quantized=quantized)
        found = transept.pipeline("feature-extraction", model=runner)(texts, return_tensors=True, batch_size=2)
        for ours, theirs in zip(found, expected, strict=True):
            assert torch.cosine_similarity(ours.mean(1), theirs.mean(1)) > 1 - max(tolerance**2, 1e-6)
    again = run("export", str(minilm_folder), str(tmp_path / "out"))
    assert again.returncode == 1
    assert "--force" in again.stderr


@pytest.mark.slow
def test_a_decoder_talks_as_the_model_does(smollm2_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("transept_pipelines")
    done = run("export", str(smollm2_folder), str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "past 12" in done.stdout
    runner = transept.ORTModelForCausalLM.from_pretrained(tmp_path)
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    asked = {"max_new_tokens": 20, "do_sample": False, "return_full_text": False}
    answers = [transept.pipeline("text-generation", model=each)(chat, **asked) for each in (runner, smollm2_folder)]
    assert answers[0] == answers[1]
    assert "Paris" in answers[0][0]["generated_text"]


def test_the_command_refuses_clearly(tmp_path: Path, tiny) -> None:
    model = tiny("bert", "base")
    model.save_pretrained(tmp_path / "bert")
    for arguments, said in (
        (("--format", "onx"), "onnx"),
        (("--task", "causal_ml"), "causal_lm"),
        (("--task", "seq2seq_lm"), "no class for"),
        (("--quantize", "int9"), "int8"),
        (("--cache",), "does not generate"),
    ):
        done = run("export", str(tmp_path / "bert"), str(tmp_path / "out"), *arguments)
        assert done.returncode != 0
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "out").exists()
