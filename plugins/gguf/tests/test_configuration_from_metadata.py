"""The configuration that a GGUF file carries, against the peer's and against what llama.cpp means by its keys."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transept_gguf.configuration import read_config

from transept.errors import CheckpointError, ConfigError, TranseptError
from transept.files import DirectoryLocation

Read = Callable[..., dict[str, Any]]


@pytest.fixture
def read(tiny: Any, tmp_path: Path) -> Read:
    def write_and_read(more: Callable[[gguf.GGUFWriter], None] = lambda _: None, **options: Any) -> dict[str, Any]:
        return read_config(DirectoryLocation(tiny.write(tmp_path / "tiny.gguf", more=more, **options)))

    return write_and_read


def test_equals_the_peers_for_a_real_file(smollm2: Path) -> None:
    ours = read_config(DirectoryLocation(smollm2))
    theirs = json.loads((Path(__file__).parent / "smollm2_golden.json").read_text())["config"]
    assert ours.pop("architectures") == ["LlamaForCausalLM"]
    assert ours.pop("dtype") == "float32"
    assert ours.pop("rms_norm_eps") == 1e-5  # theirs is its float32 neighbour
    assert ours == {key: theirs[key] for key in ours}


def test_says_what_the_writer_was_told(tiny: Any, read: Read) -> None:
    config = read()
    assert {key: config[key] for key in tiny.config} == tiny.config
    assert config["rope_parameters"] == {"rope_type": "default", "rope_theta": 10000.0}
    assert (config["attention_bias"], config["mlp_bias"]) == (False, False)


def test_without_an_output_projection_embeddings_are_tied(tiny: Any, read: Read) -> None:
    del tiny.tensors["lm_head.weight"]
    assert read()["tie_word_embeddings"] is True


def test_biases_are_seen_in_the_tensors(read: Read) -> None:
    config = read(extra={"blk.0.attn_q.bias": np.zeros(64, np.float32)})
    assert (config["attention_bias"], config["mlp_bias"]) == (True, False)


@pytest.mark.parametrize(("kind", "name"), [("F16", "float16"), ("BF16", "bfloat16"), ("F32", "float32"), ("Q8_0", "float32")])
def test_the_dtype_is_the_stored_one_and_float32_for_blocks(kind: str, name: str, read: Read) -> None:
    assert read(kind=gguf.GGMLQuantizationType[kind])["dtype"] == name


def test_head_dim_may_differ_from_hidden_size_over_heads(tiny: Any, read: Read) -> None:
    def more(writer: gguf.GGUFWriter) -> None:
        writer.add_key_length(32)
        writer.add_value_length(32)
        writer.add_rope_dimension_count(32)

    assert read(more)["head_dim"] == 32


def test_ends_are_every_token_that_ends_a_turn(read: Read) -> None:
    def more(writer: gguf.GGUFWriter) -> None:
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_eot_token_id(5)
        writer.add_pad_token_id(3)

    config = read(more)
    assert (config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]) == (1, [2, 5], 3)


def test_linear_and_yarn_scaling(read: Read) -> None:
    def linear(writer: gguf.GGUFWriter) -> None:
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(4.0)

    def yarn(writer: gguf.GGUFWriter) -> None:
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(4.0)
        writer.add_rope_scaling_orig_ctx_len(32)
        writer.add_rope_scaling_attn_factors(0.5)

    assert read(linear)["rope_parameters"] == {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}
    scaled = read(yarn)["rope_parameters"]
    assert scaled.pop("attention_factor") == pytest.approx(0.5 * (0.1 * math.log(4) + 1))
    assert scaled == {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "rope_theta": 10000.0}


def peers_inverse_frequencies(rope: dict[str, Any], head_dim: int, length: int) -> torch.Tensor:
    transformers = pytest.importorskip("transformers")
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config = transformers.LlamaConfig(
        hidden_size=4 * head_dim, num_attention_heads=4, head_dim=head_dim, max_position_embeddings=length, rope_parameters=rope
    )
    frequencies, attention = ROPE_INIT_FUNCTIONS[rope["rope_type"]](config, torch.device("cpu"), seq_len=length)
    assert attention == 1.0
    return frequencies


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_llama3_scaling_is_recognised_in_its_factors(factor: float, read: Read) -> None:
    # the converter writes what divides each frequency; here from the peer's formula
    rope = {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    plain = 1 / 500000.0 ** (torch.arange(0, 16, 2) / 16)
    factors = (plain / peers_inverse_frequencies(rope, 16, 131072)).numpy()
    config = read(
        lambda writer: writer.add_float32("llama.rope.freq_base", 500000.0),
        extra={"rope_freqs.weight": factors},
    )
    assert config["rope_parameters"] == rope


def test_other_factors_divide_the_same_frequencies(read: Read) -> None:
    factors = np.linspace(1, 6, 8, dtype=np.float32)
    rope = read(extra={"rope_freqs.weight": factors})["rope_parameters"]
    plain = 1 / 10000.0 ** (torch.arange(0, 16, 2) / 16)
    for length in (64, 128, 4096):
        torch.testing.assert_close(peers_inverse_frequencies(rope, 16, length), plain / torch.from_numpy(factors))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (lambda writer: writer.add_expert_count(8), "expert_count.*8"),
        (lambda writer: writer.add_causal_attention(False), "attention.causal"),
        (lambda writer: writer.add_logit_scale(0.5), "logit_scale"),
        (lambda writer: writer.add_rope_dimension_count(8), "rotates 8 of 16|differ"),
        (lambda writer: writer.add_rope_scaling_type(gguf.RopeScalingType.LONGROPE), "longrope"),
        (lambda writer: writer.add_uint32("llama.attention.value_length", 8), "different lengths"),
    ],
)
def test_what_the_config_cannot_say_is_refused(more: Any, words: str, read: Read) -> None:
    def with_key_length(writer: gguf.GGUFWriter) -> None:
        writer.add_key_length(16)
        more(writer)

    with pytest.raises(ConfigError, match=words):
        read(with_key_length)


def test_factors_that_are_not_positive_are_refused(read: Read) -> None:
    with pytest.raises(TranseptError, match="rope_freqs"):
        read(extra={"rope_freqs.weight": np.array([1, 1, 1, 1, 0, 1, 1, np.nan], np.float32)})


def test_an_unknown_architecture_is_named_with_the_known_ones(read: Read) -> None:
    with pytest.raises(CheckpointError, match=r"`mamba`.*`llama`, `qwen2`, `qwen3`"):
        read(arch="mamba")


def test_missing_and_mistyped_keys_are_named(raw: Any, encode_string: Any, save: Any) -> None:
    arch = ("general.architecture", 8, encode_string("llama"))
    with pytest.raises(ConfigError, match="does not say its architecture"):
        read_config(DirectoryLocation(save(raw())))
    with pytest.raises(ConfigError, match=r"`llama.context_length` is missing"):
        read_config(DirectoryLocation(save(raw(pairs=[arch]))))
    with pytest.raises(ConfigError, match=r"`llama.context_length` is 'long'"):
        read_config(DirectoryLocation(save(raw(pairs=[arch, ("llama.context_length", 8, encode_string("long"))]))))


@pytest.mark.parametrize("arch", ["qwen2", "qwen3"])
def test_other_rows_equal_the_peers(arch: str, tiny: Any, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")

    def more(writer: gguf.GGUFWriter) -> None:
        writer.add_token_list([f"t{index}" for index in range(48)])
        writer.add_tokenizer_model("gpt2")
        writer.add_key_length(16)

    path = tiny.write(tmp_path / "tiny.gguf", arch=arch, more=more)
    ours = read_config(DirectoryLocation(path))
    theirs = transformers.AutoConfig.from_pretrained(tmp_path, gguf_file=path.name).to_dict()
    assert ours.pop("dtype") == "float32"
    assert ours.pop("architectures") == [f"{arch.title()}ForCausalLM"]
    assert ours.pop("rms_norm_eps") == 1e-5
    assert ours.pop("head_dim") == 16  # the peer leaves it to the class, and takes 128 for qwen3
    assert ours == {key: theirs[key] for key in ours}
