"""The mission's own examples and ours, run as a user runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SEEDS = ROOT.parent / "shared" / "seed_examples"
"""The mission's examples, which are no part of the repository: where they are laid beside it, they run."""

needs_seeds = pytest.mark.skipif(not SEEDS.is_dir(), reason="the mission's examples are not beside this checkout")


def run(script: Path, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
        cwd=script.parent,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_demo_answers_paris() -> None:
    shown = run(ROOT / "examples" / "demo.py")
    assert "Paris" in shown
    assert "tokens/s" in shown
    for dist in ("transept-llama", "transept-gguf", "transept-pypi", "transept-tokenizers"):
        assert dist in shown or dist == "transept-tokenizers"


@pytest.mark.slow
def test_the_generation_example_runs_on_a_gguf_and_on_safetensors(smollm2_gguf: Path, smollm2_folder: Path) -> None:
    """The mission's fourth example without its quantization arguments."""
    # without native products, whose rounding may choose another word; so the blocks give the very text that their floats give
    plain = {"TRANSEPT_PLUGINS": "transept-llama,transept-gguf,transept-tokenizers,transept-flash"}
    from_gguf = run(ROOT / "examples" / "generate.py", str(smollm2_gguf), **plain)
    from_folder = run(ROOT / "examples" / "generate.py", str(smollm2_folder))
    assert "flash_attention_2 refused" in from_gguf
    assert "cannot run here" in from_gguf
    response = from_gguf[from_gguf.index("Model response: ") :]
    assert response.startswith("Model response: What is the future of AI?")
    assert from_folder.endswith(response)


@needs_seeds
@pytest.mark.slow
@pytest.mark.parametrize("name", ["01_load_and_infer", "02_custom_config", "03_fine_tune"])
def test_an_example_of_the_mission_runs_unchanged(name: str, minilm_folder: Path) -> None:
    shown = run(SEEDS / f"{name}.py", BERT=str(minilm_folder), PYTHONDONTWRITEBYTECODE="1")
    assert shown.strip().endswith(f"ok {name[:2]}")


@needs_seeds
@pytest.mark.slow
def test_quantized_generation_runs_unchanged(smollm2_folder: Path) -> None:
    pytest.importorskip("transept_bitsandbytes")
    shown = run(SEEDS / "04_quantized_generation.py", LLAMA=str(smollm2_folder), PYTHONDONTWRITEBYTECODE="1")
    assert "flash_attention_2 refused" in shown
    assert shown.strip().endswith("ok 04")


@needs_seeds
@pytest.mark.slow
def test_every_optimisation_runs_unchanged(smollm2_folder: Path, minilm_folder: Path) -> None:
    """Checkpointing, mixed precision, device map, an 8-bit classifier on a CPU (at which the peer fails), ONNX."""
    pytest.importorskip("transept_bitsandbytes")
    places = {"LLAMA": str(smollm2_folder), "BERT": str(minilm_folder)}
    shown = run(SEEDS / "05_optimisations.py", **places, PYTHONDONTWRITEBYTECODE="1")
    assert shown.strip().endswith("ok 05")


@pytest.mark.full
@pytest.mark.slow
def test_spam_is_told_from_ham(tmp_path: Path) -> None:
    """On a fifth of 5,919 real e-mails that it has not seen; npm brings them."""
    shown = run(ROOT / "examples" / "spam" / "train.py", "--output", str(tmp_path))
    assert "1184 held out" in shown
    assert "said spam" in shown
    assert float(shown.rsplit("accuracy ", 1)[1].split()[0]) >= 0.97
