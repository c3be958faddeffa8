"""llama.cpp opens the files that we write, splits text as our tokenizer does, and computes what our model computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transept_gguf import write_gguf

pytest.importorskip("transept_llama")

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transept_tokenizers.fast import PreTrainedTokenizerFast

from transept.auto import AutoConfig, AutoModelForCausalLM, AutoTokenizer

pytestmark = pytest.mark.full

TEXTS = ["the thing in the 1234 th", "don't stop!", "émigré 😀\n\n  x"]
SMALL = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
    "rms_norm_eps": 1e-5,
    "pad_token_id": None,
    "bos_token_id": 256,
    "eos_token_id": 257,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        }
    },
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {"head_dim": 16, "rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}},
    "gemma2": {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 16},
}


@pytest.fixture(scope="module")
def llama_cpp() -> Any:
    return pytest.importorskip("llama_cpp", reason="`make test-full` builds it")


def opened(llama_cpp: Any, path: Path) -> Any:
    return llama_cpp.Llama(model_path=str(path), n_ctx=64, n_threads=2, logits_all=True, verbose=False)


def theirs(llama: Any, ids: list[int]) -> torch.Tensor:
    llama.reset()
    llama.eval(ids)
    return torch.tensor(llama.scores[: len(ids)])


def ours(model: Any, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(torch.tensor([ids])).logits[0]
    return found


def byte_level() -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: index for index, token in enumerate([*alphabet, "<s>", "</s>", "th", "the"])}
    backend = Tokenizer(models.BPE(vocab, [("t", "h"), ("th", "e")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")


@pytest.mark.parametrize("family", FAMILIES)
def test_small_models_of_every_architecture(family: str, llama_cpp: Any, tmp_path: Path) -> None:
    pytest.importorskip(f"transept_{family}")
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **{**SMALL, **FAMILIES[family]})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    tokenizer = byte_level()
    write_gguf(model, tmp_path / "floats.gguf", tokenizer=tokenizer)
    llama = opened(llama_cpp, tmp_path / "floats.gguf")
    for text in TEXTS:
        ids = tokenizer(text)["input_ids"]
        assert llama.tokenize(text.encode(), add_bos=False) == ids
        expected = ours(model, ids)
        # attention is summed in half precision there
        assert (theirs(llama, ids) - expected).abs().max() <= 5e-3 * expected.abs().max()
    model.quantize("q8_0")
    write_gguf(model, tmp_path / "packed.gguf", tokenizer=tokenizer)
    ids = tokenizer(TEXTS[0])["input_ids"]
    expected = ours(model, ids)
    found = theirs(opened(llama_cpp, tmp_path / "packed.gguf"), ids)
    assert (found - expected).norm() <= 0.03 * expected.norm(), "activations are rounded there"


@pytest.mark.parametrize("route", ["blocks", "safetensors", "q4_0"])
def test_smollm2(route: str, smollm2: Path, llama_cpp: Any, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(smollm2, automatic_rewrites=False)
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    if route != "blocks":
        model.save_pretrained(tmp_path / "saved")
        tokenizer.save_pretrained(tmp_path / "saved")
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "saved", automatic_rewrites=False)
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / "saved")
    if route == "q4_0":
        model.dequantize().quantize("q4_0")
    write_gguf(model, tmp_path / "model.gguf", tokenizer=tokenizer)
    llama = opened(llama_cpp, tmp_path / "model.gguf")
    for text in ("Gravity is a force", "In 1969, people walked on the moon; don't they? ١٢٣ 你好"):
        assert llama.tokenize(text.encode(), add_bos=False) == tokenizer(text)["input_ids"]
    chat = [{"role": "user", "content": "Name the capital of France."}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    ids = llama.tokenize(prompt.encode(), add_bos=False, special=True)
    assert ids == tokenizer(prompt)["input_ids"]
    found, expected = theirs(llama, ids), ours(model, ids)
    assert (found - expected).norm() <= 0.05 * expected.norm()
    assert found.argmax(-1).eq(expected.argmax(-1)).float().mean() >= 0.8, (
        "near ties fall the other way where activations are rounded"
    )
    assert (
        llama.create_chat_completion(chat, max_tokens=12, temperature=0)["choices"][0]["message"]["content"].count("Paris") == 1
        or route == "q4_0"
    )
