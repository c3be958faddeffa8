"""`transept convert`: out of a GGUF file into floats that everybody opens, and into a GGUF file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("transept_cli")
pytest.importorskip("transept_llama")

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transept_tokenizers.fast import PreTrainedTokenizerFast

from transept.auto import AutoModelForCausalLM, AutoTokenizer

pytestmark = pytest.mark.slow

Kind = gguf.GGMLQuantizationType


def convert(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "transept_cli", "convert", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"}, check=False)


def test_a_file_becomes_floats_and_the_same_file(write_wide: Callable[..., Path], tmp_path: Path) -> None:
    source = write_wide(tmp_path / "source.gguf", Kind.Q4_K, {"output": Kind.Q6_K})
    done = convert(source, tmp_path / "folder")
    assert done.returncode == 0, done.stderr
    assert "No tokenizer was written" in done.stderr
    assert {tensor.dtype for tensor in load_file(tmp_path / "folder" / "model.safetensors").values()} == {torch.float32}
    assert "quantization_config" not in json.loads((tmp_path / "folder" / "config.json").read_text())
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "folder")
    ours = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    assert torch.equal(theirs.lm_head.weight, ours.lm_head.weight)

    done = convert(source, tmp_path / "again.gguf")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "again.gguf").read_bytes() == source.read_bytes()
    refused = convert(source, tmp_path / "again.gguf")
    assert refused.returncode == 1
    assert "--force" in refused.stderr
    assert convert(source, tmp_path / "again.gguf", "--force").returncode == 0
    sharded = convert(source, tmp_path / "other.gguf", "--max-shard-size", "1MB")
    assert sharded.returncode == 2
    assert not (tmp_path / "other.gguf").exists()


def test_a_folder_becomes_a_file_with_its_tokenizer(write_wide: Callable[..., Path], tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(write_wide(tmp_path / "source.gguf", Kind.Q8_0), dtype="float32")
    model.resize_token_embeddings(257)
    vocab = {token: index for index, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocab["th"] = len(vocab)
    backend = Tokenizer(models.BPE(vocab, [("t", "h")]))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    for one in (model, tokenizer):
        one.save_pretrained(tmp_path / "folder")
    done = convert(tmp_path / "folder", tmp_path / "made.gguf", "--dtype", "bfloat16")
    assert done.returncode == 0, done.stderr
    assert AutoTokenizer.from_pretrained(tmp_path / "made.gguf")("a b")["input_ids"] == tokenizer("a b")["input_ids"]
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "made.gguf")
    assert torch.equal(again.lm_head.weight, model.lm_head.weight.to(torch.bfloat16))
