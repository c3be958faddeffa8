"""The commands on encoders, encoder–decoders and heads without an auto class."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TINY_BERT = {"vocab_size": 60, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
TINY_GPT2 = {"vocab_size": 60, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32, "bos_token_id": 1, "eos_token_id": 2}
TINY_GEMMA2 = {**TINY_BERT, "head_dim": 8, "num_key_value_heads": 1, "sliding_window": 4}
TINY_T5 = {"vocab_size": 60, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 0}


def transept(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "transept_cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"}, check=False)


def explained(folder: Path) -> list[dict[str, Any]]:
    said = transept("explain", str(folder), "--json")
    assert said.returncode == 0, said.stderr
    return json.loads(said.stdout)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Any:
    """`checkpoint("T5ForConditionalGeneration", "T5Config", {…})`: a folder with random weights and a tokenizer of words."""

    def make(model: str, config: str, settings: dict[str, Any]) -> Path:
        import torch
        from tokenizers import Tokenizer, models, pre_tokenizers

        import transept

        if not hasattr(transept, model):
            pytest.skip(f"no installed plugin offers {model}")
        words = Tokenizer(models.WordLevel({"<pad>": 0, **{f"w{number}": number for number in range(1, 60)}}, unk_token="w3"))
        words.pre_tokenizer = pre_tokenizers.Whitespace()
        torch.manual_seed(0)
        folder = tmp_path / model
        getattr(transept, model)(getattr(transept, config)(**settings)).save_pretrained(folder)
        transept.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>").save_pretrained(folder)
        return folder

    return make


def test_an_encoder_decoder_generates_and_is_explained(checkpoint: Any) -> None:
    folder = str(checkpoint("T5ForConditionalGeneration", "T5Config", TINY_T5))
    said = transept("generate", folder, "w5 w6 w7", "-n", "4", "--json")
    assert said.returncode == 0, said.stderr
    facts = json.loads(said.stdout)
    assert facts["prompt_tokens"] == 3
    assert 1 <= facts["new_tokens"] <= 4
    streamed = transept("generate", folder, "w5 w6 w7", "-n", "4")
    assert "w5 w6 w7" not in streamed.stdout  # the source is no part of what is written
    assert streamed.stdout.strip() == facts["text"]
    roles = {row["role"]: row["choice"] for row in json.loads(transept("explain", folder, "--json").stdout)}
    assert roles["architecture"] == "t5"
    assert roles["attention"] in ("eager", "sdpa")
    assert roles["decoding"] == "greedy"


def test_layers_with_other_needs_are_explained_apart(checkpoint: Any) -> None:
    kernels = [
        row for row in explained(checkpoint("T5ForConditionalGeneration", "T5Config", TINY_T5)) if row["role"] == "attention"
    ]
    assert len(kernels) == 2  # position biases in self-attention, none in cross-attention
    assert "2 of 3 layers, the first is encoder.block.0.layer.0.SelfAttention" in kernels[0]["why"]
    assert "1 of 3 layers, the first is decoder.block.0.layer.1.EncDecAttention" in kernels[1]["why"]
    (only,) = (
        row for row in explained(checkpoint("Gemma2ForCausalLM", "Gemma2Config", TINY_GEMMA2)) if row["role"] == "attention"
    )
    assert only["choice"] == "eager"
    assert ("sdpa", "lacks a `softcap`") in [(other["key"], other["why"]) for other in only["others"]]


def test_an_encoder_is_explained_as_what_it_is_and_does_not_generate(checkpoint: Any) -> None:
    folder = str(checkpoint("BertForMaskedLM", "BertConfig", TINY_BERT))
    explained = transept("explain", folder, "--json")
    assert explained.returncode == 0, explained.stderr
    assert "Warning" not in explained.stderr
    roles = {row["role"] for row in json.loads(explained.stdout)}
    assert "attention" in roles
    assert not roles & {"cache", "decoding"}
    refused = transept("generate", folder, "w5", "-n", "2")
    assert refused.returncode == 1
    assert "to generate, load it with `is_decoder=True`" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_head_without_an_auto_class_keeps_its_name_and_its_weights(checkpoint: Any, tmp_path: Path) -> None:
    folder = checkpoint("GPT2DoubleHeadsModel", "GPT2Config", TINY_GPT2)
    assert "GPT2DoubleHeadsModel" in json.loads(transept("info", str(folder), "--json").stdout)["tasks"]
    done = transept("convert", str(folder), str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == ["GPT2DoubleHeadsModel"]
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
