"""A model leaves as a GGUF file: what came from one byte for byte, what came from elsewhere as the `gguf` package reads it."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transept_gguf import GgufConfig, write_gguf
from transept_gguf.tokenization import GGUFTokenizer

pytest.importorskip("transept_llama")

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transept_llama.configuration import LlamaConfig
from transept_llama.modeling import LlamaForCausalLM, LlamaModel
from transept_tokenizers.fast import PreTrainedTokenizerFast

from transept.auto import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transept.errors import SaveError, TokenizerError

Kind = gguf.GGMLQuantizationType
Write = Callable[..., Path]
IDS = torch.tensor([[1, 5, 9, 11, 39, 2, 2, 7]])
MIX = {
    "output": Kind.Q6_K,
    "token_embd": Kind.Q5_K,
    "blk.1.ffn_down": Kind.Q6_K,
    "blk.0.attn_v": Kind.Q8_0,
    "blk.1.attn_v": Kind.F32,
}
SMALL = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "pad_token_id": None,
}


def load(path: Path, **options: Any) -> Any:
    return AutoModelForCausalLM.from_pretrained(path, automatic_rewrites=False, **options)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(IDS).logits
    return found


def model_of(**changes: Any) -> Any:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**{**SMALL, **changes})).eval()


def fields(path: Path) -> dict[str, Any]:
    return {key: field.contents() for key, field in gguf.GGUFReader(path).fields.items() if not key.startswith("GGUF.")}


# -- from a GGUF file --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [False, True], ids=["own head", "tied"])
def test_a_files_model_becomes_the_same_file(tied: bool, write_wide: Write, tmp_path: Path) -> None:
    source = write_wide(tmp_path / "source.gguf", Kind.Q4_K, MIX, tied)
    write_gguf(load(source), tmp_path / "again.gguf")
    assert (tmp_path / "again.gguf").read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    "name", [kind.name for kind in Kind if kind.name in ("F16", "BF16", "F32", "Q2_K", "Q3_K", "Q4_1", "Q5_0", "Q8_0")]
)
def test_any_type_becomes_the_same_file(name: str, write_wide: Write, tiny: Any, tmp_path: Path) -> None:
    if name.endswith("_K"):
        source = write_wide(tmp_path / "source.gguf", Kind[name])
    else:
        source = tiny.write(tmp_path / "source.gguf", kind=Kind[name])
    write_gguf(load(source), tmp_path / "again.gguf")
    before, after = gguf.GGUFReader(source), gguf.GGUFReader(tmp_path / "again.gguf")
    assert [tensor.name for tensor in after.tensors] == [tensor.name for tensor in before.tensors]
    for one, other in zip(before.tensors, after.tensors, strict=True):
        assert one.tensor_type == other.tensor_type or one.data.ndim == 1, one.name
        assert np.array_equal(one.data, other.data), one.name
    assert fields(source).items() <= fields(tmp_path / "again.gguf").items()


def test_through_safetensors_the_blocks_are_the_files(write_wide: Write, tmp_path: Path) -> None:
    source = write_wide(tmp_path / "source.gguf", Kind.Q4_K, MIX)
    load(source).save_pretrained(tmp_path / "saved")
    model = load(tmp_path / "saved")
    write_gguf(model, tmp_path / "bare.gguf")
    write_gguf(model, tmp_path / "again.gguf", source=source)
    assert (tmp_path / "again.gguf").read_bytes() == source.read_bytes()
    file = {tensor.name: tensor for tensor in gguf.GGUFReader(source).tensors}
    for tensor in gguf.GGUFReader(tmp_path / "bare.gguf").tensors:
        assert tensor.tensor_type == file[tensor.name].tensor_type
        assert np.array_equal(tensor.data, file[tensor.name].data), tensor.name
    assert torch.equal(logits(load(tmp_path / "bare.gguf")), logits(model))


def test_a_changed_model_says_what_it_is_now(write_wide: Write, tmp_path: Path) -> None:
    source = write_wide(tmp_path / "source.gguf", Kind.Q4_K, MIX)
    model = load(source, dtype="float32")
    model.resize_token_embeddings(48)
    model.quantize("q8_0")
    model.config.rope_parameters = {**model.config.rope_parameters, "rope_theta": 5e5}
    write_gguf(model, tmp_path / "changed.gguf")
    said = fields(tmp_path / "changed.gguf")
    assert said["llama.vocab_size"] == 48
    assert said["llama.rope.freq_base"] == 5e5
    assert said["general.file_type"] == 7, "mostly Q8_0"
    assert said["general.name"] == "wide", "what is still true is kept"
    again = load(tmp_path / "changed.gguf")
    assert again.config.vocab_size == 48
    assert torch.equal(again.lm_head.weight, model.lm_head.weight)


def test_dequantized_floats_are_written_as_floats(write_wide: Write, tmp_path: Path) -> None:
    source = write_wide(tmp_path / "source.gguf", Kind.Q4_K, MIX)
    for model, kind in ((load(source).dequantize(), Kind.F32), (load(source, dtype="float16"), Kind.F16)):
        write_gguf(model, tmp_path / "floats.gguf")
        tensors = gguf.GGUFReader(tmp_path / "floats.gguf").tensors
        assert {tensor.tensor_type for tensor in tensors if len(tensor.shape) == 2} == {kind}
        assert {tensor.tensor_type for tensor in tensors if len(tensor.shape) == 1} == {Kind.F32}
        assert fields(tmp_path / "floats.gguf")["general.file_type"] == kind.value
        again = load(tmp_path / "floats.gguf", dtype="float32")
        assert torch.equal(again.lm_head.weight, model.lm_head.weight.float())


def test_all_parts_of_a_split_model_become_one_file(write_wide: Write, tmp_path: Path) -> None:
    source = write_wide(tmp_path / "source.gguf", Kind.Q4_K)
    names = [tensor.name for tensor in gguf.GGUFReader(source).tensors]
    (tmp_path / "parts").mkdir()
    for number, part in enumerate((names[:5], names[5:]), start=1):
        reader = gguf.GGUFReader(source)
        writer = gguf.GGUFWriter(tmp_path / "parts" / f"m-{number:05}-of-00002.gguf", "llama")
        for key, field in reader.fields.items():
            if number == 1 and not key.startswith("GGUF.") and key != "general.architecture":
                writer.add_key_value(key, field.contents(), field.types[0])
        writer.add_key_value("split.no", number - 1, gguf.GGUFValueType.UINT16)
        writer.add_key_value("split.count", 2, gguf.GGUFValueType.UINT16)
        writer.add_key_value("split.tensors.count", len(names), gguf.GGUFValueType.INT32)
        for tensor in reader.tensors:
            if tensor.name in part:
                writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    model = load(tmp_path / "parts")
    write_gguf(model, tmp_path / "whole.gguf")
    assert not [key for key in fields(tmp_path / "whole.gguf") if key.startswith("split.")]
    assert torch.equal(logits(load(tmp_path / "whole.gguf")), logits(load(source)))


@pytest.mark.slow
def test_smollm2_comes_back_byte_for_byte(smollm2: Path, tmp_path: Path) -> None:
    write_gguf(load(smollm2), tmp_path / "again.gguf", tokenizer=AutoTokenizer.from_pretrained(smollm2))
    assert (tmp_path / "again.gguf").read_bytes() == smollm2.read_bytes()


# -- from elsewhere ----------------------------------------------------------------------------------------------------


def byte_level(splitting: Any = None, normalizer: Any = None) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: every byte, two merges, a special token and one that is not."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: index for index, token in enumerate([*alphabet, "th", "the"])}
    backend = Tokenizer(models.BPE(vocab, [("t", "h"), ("th", "e")]))
    backend.pre_tokenizer = splitting or pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    backend.decoder = decoders.ByteLevel()
    if normalizer is not None:
        backend.normalizer = normalizer
    made = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", chat_template="{{ messages }}")
    made.add_tokens(["plain token"])
    return made


SPLITTINGS = {
    "gpt-2": None,
    "smollm": pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    ),
}
TEXTS = ["the thing in the 1234 th", "don't <s> stop</s>, plain token!", "émigré 😀\n\n  x", ""]


@pytest.mark.parametrize("name", SPLITTINGS)
def test_a_tokenizer_goes_with_the_model(name: str, tmp_path: Path) -> None:
    tokenizer = byte_level(SPLITTINGS[name])
    model = model_of(bos_token_id=258, eos_token_id=[259, 257]).quantize("q8_0")
    write_gguf(model, tmp_path / "model.gguf", tokenizer=tokenizer)
    said = fields(tmp_path / "model.gguf")
    assert (said["tokenizer.ggml.model"], said["tokenizer.ggml.pre"]) == ("gpt2", name)
    assert len(said["tokenizer.ggml.tokens"]) == len(said["tokenizer.ggml.token_type"]) == 300
    again = AutoTokenizer.from_pretrained(tmp_path / "model.gguf")
    for text in TEXTS:
        assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
        assert again.decode(again(text)["input_ids"]) == tokenizer.decode(tokenizer(text)["input_ids"])
    assert again.chat_template == tokenizer.chat_template
    assert (again.bos_token, again.eos_token) == ("<s>", "</s>")
    config = AutoConfig.from_pretrained(tmp_path / "model.gguf")
    assert (config.bos_token_id, config.eos_token_id) == (258, [259, 257])
    assert torch.equal(logits(load(tmp_path / "model.gguf")), logits(model))


def test_bos_is_put_first_where_the_tokenizer_does(tmp_path: Path) -> None:
    tokenizer = byte_level()
    tokenizer.add_bos_token = True
    write_gguf(model_of(), tmp_path / "model.gguf", tokenizer=tokenizer)
    again = GGUFTokenizer.from_pretrained(tmp_path / "model.gguf")
    assert again("the")["input_ids"] == tokenizer("the")["input_ids"]
    assert again("the")["input_ids"][0] == tokenizer.bos_token_id


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
        {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 32, "beta_fast": 30.0},
        {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 2.0,
            "original_max_position_embeddings": 32,
        },
    ],
    ids=["linear", "yarn", "llama3", "other llama3"],
)
def test_rope_scaling_is_said(rope: dict[str, Any], tmp_path: Path) -> None:
    model = model_of(rope_parameters=rope)
    write_gguf(model, tmp_path / "model.gguf")
    again = load(tmp_path / "model.gguf")
    assert (logits(again) - logits(model)).abs().max() <= 1e-5 * logits(model).abs().max()
    write_gguf(again, tmp_path / "again.gguf")
    assert (tmp_path / "again.gguf").read_bytes() == (tmp_path / "model.gguf").read_bytes()


def test_biases_and_halves(tmp_path: Path) -> None:
    model = model_of(attention_bias=True, mlp_bias=True).to(torch.bfloat16)
    write_gguf(model, tmp_path / "model.gguf")
    again = load(tmp_path / "model.gguf", dtype=torch.bfloat16)
    state = again.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())


# -- what is refused ---------------------------------------------------------------------------------------------------


def assert_refused(words: str, model: Any, path: Path, error: type[Exception] = SaveError, **options: Any) -> None:
    path.write_bytes(b"before")
    with pytest.raises(error, match=words):
        write_gguf(model, path, **options)
    assert path.read_bytes() == b"before"
    assert [one.name for one in path.parent.iterdir() if one.name.endswith(".tmp")] == []


def test_what_gguf_cannot_say_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    assert_refused("`LlamaModel`.*`LlamaForCausalLM`", LlamaModel(LlamaConfig(**SMALL)), path)
    assert_refused("hidden_act='gelu'", model_of(hidden_act="gelu"), path)
    dynamic = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    assert_refused("rope_parameters", model_of(rope_parameters=dynamic), path)
    assert_refused("float64", model_of().double(), path)
    with torch.device("meta"):
        empty = LlamaForCausalLM(LlamaConfig(**SMALL))
    assert_refused("meta", empty, path)


def test_another_quantizers_weights_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("transept_int8")
    assert_refused(r"packed by `int8`.*dequantize", model_of().quantize("int8"), tmp_path / "model.gguf")


@pytest.mark.parametrize(
    ("tokenizer", "words"),
    [
        (lambda: byte_level(normalizer=normalizers.Lowercase()), "Lowercase"),
        (lambda: byte_level(pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False)])), "Whitespace"),
        (lambda: PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))), "WordLevel"),
        (lambda: object(), "tokenizer.json"),
    ],
    ids=["normalizer", "splitting", "kind", "slow"],
)  # fmt: skip
def test_tokenizers_that_gguf_cannot_say_are_refused(tokenizer: Any, words: str, tmp_path: Path) -> None:
    assert_refused(words, model_of(), tmp_path / "model.gguf", TokenizerError, tokenizer=tokenizer())


def test_more_tokens_than_rows_are_refused(tmp_path: Path) -> None:
    assert_refused("id 260", model_of(vocab_size=200), tmp_path / "model.gguf", TokenizerError, tokenizer=byte_level())


def test_a_source_that_is_gone_or_another_is_named(write_wide: Write, tmp_path: Path) -> None:
    source = write_wide(tmp_path / "source.gguf", Kind.Q8_0)
    model = load(source, mmap=False)
    moved = tmp_path / "moved.gguf"
    shutil.move(source, moved)
    assert_refused(r"source\.gguf.*source=", model, tmp_path / "model.gguf")
    write_gguf(model, tmp_path / "model.gguf", source=moved)
    assert (tmp_path / "model.gguf").read_bytes() == moved.read_bytes()
    assert_refused(r"nowhere\.gguf", model, tmp_path / "model.gguf", source=tmp_path / "nowhere.gguf")


def test_a_full_disk_leaves_what_was_there(write_wide: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(write_wide(tmp_path / "source.gguf", Kind.Q8_0))

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert_refused("No space left", model, tmp_path / "model.gguf")


def test_a_file_may_be_written_over_its_own_source(write_wide: Write, tmp_path: Path) -> None:
    source = write_wide(tmp_path / "source.gguf", Kind.Q4_K)
    model = load(source)
    before, bytes_before = logits(model), source.read_bytes()
    write_gguf(model, source)
    assert source.read_bytes() == bytes_before
    assert torch.equal(logits(model), before)


def test_settings_of_a_written_file_are_its_own(tmp_path: Path) -> None:
    model = model_of().quantize(GgufConfig(type="Q4_0", types={"lm_head": "Q8_0", "*.v_proj": None}))
    write_gguf(model, tmp_path / "model.gguf")
    again = load(tmp_path / "model.gguf")
    assert again.lm_head.packing == "Q8_0"
    assert type(again.model.layers[0].self_attn.v_proj) is torch.nn.Linear
    assert torch.equal(logits(again), logits(model))
