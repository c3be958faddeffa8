"""Damage that leaves a file readable still ends in a value or in an error of ours, in configuration and tokenizer too."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest
from tokenizers import pre_tokenizers
from transept_gguf.configuration import read_config
from transept_gguf.tokenization import GGUFTokenizer

from transept.errors import TranseptError
from transept.files import DirectoryLocation


@pytest.fixture(params=["gpt2", "llama"])
def whole(request: pytest.FixtureRequest, tmp_path: Path) -> bytes:
    """A file without weights, with every key that configuration and tokenizer look at."""
    path = tmp_path / "whole.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    for key in ("block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count"):
        writer.add_uint32(f"llama.{key}", 4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(4.0)
    writer.add_tokenizer_model(request.param)
    if request.param == "gpt2":
        letters = sorted(pre_tokenizers.ByteLevel.alphabet())[-40:]
        writer.add_tokenizer_pre("llama-bpe")
        writer.add_token_list(["<s>", "</s>", "<t>", "a", "b", "ab", *letters])
        writer.add_token_types([3, 3, 4, 1, 1, 1, *[1] * 40])
        writer.add_token_merges(["a b"])
    else:
        writer.add_token_list(["<unk>", "<s>", "</s>", "<0x41>", "a", "b", "ab", "▁"])
        writer.add_token_types([2, 3, 3, 6, 1, 1, 1, 1])
        writer.add_token_scores([0.0, 0.0, 0.0, 0.0, -1.0, -2.0, -3.0, -4.0])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(True)
    writer.add_chat_template("{{ messages }}")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path.read_bytes()


def outcome(make: Callable[[], Any]) -> str:
    try:
        make()
    except TranseptError as error:
        return type(error).__name__
    return "value"


def test_flipped_bits_end_in_a_value_or_an_error(whole: bytes, tmp_path: Path) -> None:
    path, rng = tmp_path / "damaged.gguf", random.Random(0)
    seen = set()
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 1, 3))):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        place = DirectoryLocation(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a splitting of another name
            seen.add(outcome(lambda: read_config(place)))  # noqa: B023 (called at once)
            seen.add(outcome(lambda: GGUFTokenizer.from_pretrained(place)("ab <s> é")))  # noqa: B023
    assert {"value", "CorruptFileError", "ConfigError", "TokenizerError"} <= seen
