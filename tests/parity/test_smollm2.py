"""A real pretrained model: the peer's answers are ours, from safetensors and from GGUF."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest
import torch
import transformers

import transept

pytestmark = pytest.mark.slow

NASTY = [
    "",
    " ",
    "Hello, world!",
    "  leading and trailing   ",
    "12345 67 8.9 1,000,000 007",
    "émigré naïve ﬁn",
    "😀 👩‍👩‍👧‍👦 🏳️‍🌈 done",
    "مرحبا بالعالم ١٢٣",
    "你好,世界。我们去吃饭吧",
    "tabs\tand\nnew\r\nlines\n\n\n",
    "control \x00\x01\x07\x1b chars \u200b\ufeff\u202e",
    "don't we'll I'M they'RE",
    "def f(x):\n    return x**2  # ok",
    "<|im_start|>user\nhi<|im_end|>",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "\u0301combining e\u0301",
]
FOREIGN_DIGITS = 7
CHATS = [
    [{"role": "user", "content": "Hi"}],
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "And 3+3?"},
    ],
]


@pytest.fixture(scope="module")
def peer(smollm2_folder: Path):
    return transformers.AutoModelForCausalLM.from_pretrained(smollm2_folder, dtype=torch.float32)


@pytest.fixture(scope="module")
def peer_tokenizer(smollm2_folder: Path):
    return transformers.AutoTokenizer.from_pretrained(smollm2_folder)


@pytest.fixture(scope="module")
def original_tokenizer(peer_tokenizer):
    """SmolLM2's own rule on the hub: every digit of any script alone, then byte-level words.

    The file names it (`tokenizer.ggml.pre` is `smollm`); the peer leaves it out when it reads GGUF, which shows in digits
    that are not ASCII.
    """
    from tokenizers import pre_tokenizers

    original = copy.deepcopy(peer_tokenizer)
    original.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    return original


@pytest.fixture(scope="module", params=["safetensors", "gguf"])
def place(request, smollm2_folder: Path, smollm2_gguf: Path) -> Path:
    return smollm2_folder if request.param == "safetensors" else smollm2_gguf


@pytest.fixture(scope="module")
def ours(place: Path):
    return transept.AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32)


@pytest.fixture(scope="module")
def tokenizer(place: Path):
    return transept.AutoTokenizer.from_pretrained(place)


def test_logits_are_equal(ours, peer, peer_tokenizer) -> None:
    ids = peer_tokenizer(
        "The quick brown fox jumps over the lazy dog. In 1969, people walked on", return_tensors="pt"
    ).input_ids
    with torch.no_grad():
        a, b = ours(ids).logits, peer(ids).logits
    assert (a - b).abs().max() / b.abs().max() < 1e-4


def test_greedy_tokens_are_equal(ours, peer, peer_tokenizer) -> None:
    inputs = peer_tokenizer("What is the future of AI?", return_tensors="pt")
    want = peer.generate(**inputs, max_new_tokens=40, do_sample=False)
    got = ours.generate(**inputs, max_new_tokens=40, do_sample=False)
    assert torch.equal(got, want)


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_token_ids_are_equal_and_decode_alike(place, tokenizer, peer_tokenizer, original_tokenizer, text: str) -> None:
    ids = tokenizer(text)["input_ids"]
    assert ids == (original_tokenizer if place.suffix == ".gguf" else peer_tokenizer)(text)["input_ids"]
    assert text == NASTY[FOREIGN_DIGITS] or ids == peer_tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == peer_tokenizer.decode(ids)
    assert tokenizer.decode(ids, skip_special_tokens=True) == peer_tokenizer.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("chat", CHATS, ids=["plain", "system"])
@pytest.mark.parametrize("prompt", [True, False])
def test_chat_template_text_is_equal(tokenizer, peer_tokenizer, chat, prompt: bool) -> None:
    want = peer_tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=prompt)
    assert tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=prompt) == want
    ids = tokenizer.apply_chat_template(chat, tokenize=True, add_generation_prompt=prompt, return_dict=True)["input_ids"]
    assert (
        ids
        == peer_tokenizer.apply_chat_template(chat, tokenize=True, add_generation_prompt=prompt, return_dict=True)["input_ids"]
    )


def test_what_we_save_the_peer_opens(ours, tokenizer, tmp_path: Path) -> None:
    ours.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    back, info = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert back.lm_head.weight is back.model.embed_tokens.weight
    opened = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in NASTY:
        assert opened(text)["input_ids"] == tokenizer(text)["input_ids"]
    inputs = opened("Gravity is", return_tensors="pt")
    want = back.generate(**inputs, max_new_tokens=8, do_sample=False)
    assert torch.equal(ours.generate(**inputs, max_new_tokens=8, do_sample=False), want)


def test_gguf_file_chooses_among_several_as_in_the_peer(smollm2_gguf, tmp_path: Path) -> None:
    shutil.copy(smollm2_gguf, tmp_path / "one.gguf")
    (tmp_path / "two.gguf").hardlink_to(tmp_path / "one.gguf")
    with pytest.raises(transept.CheckpointError, match=r"one\.gguf"):
        transept.AutoConfig.from_pretrained(tmp_path)
    config = transept.AutoConfig.from_pretrained(tmp_path, gguf_file="two.gguf")
    assert config.model_type == "llama"
    model = transept.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="two.gguf")
    assert model.load_report.files == ("two.gguf",) or "two.gguf" in str(model.load_report.files)
    assert transept.AutoTokenizer.from_pretrained(tmp_path, gguf_file="two.gguf")("hi")["input_ids"]
    with pytest.raises(transept.CheckpointNotFoundError, match=r"three\.gguf"):
        transept.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="three.gguf")
