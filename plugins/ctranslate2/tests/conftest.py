"""Small files in CTranslate2's layout, written here value by value."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

TYPES = [torch.float32, torch.int8, torch.int16, torch.int32, torch.float16, torch.bfloat16]
_SIZES = {torch.float32: 4, torch.int16: 2, torch.int8: 1}


def string(text: str) -> bytes:
    return struct.pack("<H", len(text.encode()) + 1) + text.encode() + b"\0"


def variable(name: str, tensor: Tensor, version: int = 6) -> bytes:
    raw = bytes(tensor.contiguous().view(-1).view(torch.uint8).tolist())
    head = string(name) + struct.pack(f"<B{tensor.dim()}I", tensor.dim(), *tensor.shape)
    if version >= 4:
        return head + struct.pack("<BI", TYPES.index(tensor.dtype), len(raw)) + raw
    size = _SIZES[tensor.dtype]
    return head + struct.pack("<BI", size, len(raw) // size) + raw


def model_bin(
    variables: Mapping[str, Tensor], aliases: Mapping[str, str] = {}, *, version: int = 6, spec: str = "WhisperSpec"
) -> bytes:
    made = struct.pack("<I", version) + string(spec) + struct.pack("<II", 3, len(variables))
    made += b"".join(variable(name, tensor, version) for name, tensor in variables.items())
    if version >= 3:
        made += struct.pack("<I", len(aliases)) + b"".join(string(name) + string(other) for name, other in aliases.items())
    return made


def quantized(tensor: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Integers and their scale: one a row for int8, one for all for int16."""
    values = tensor.float()
    if dtype == torch.int16:
        scale = 1024 / values.abs().max()
        return (values * scale).round().to(dtype), scale
    scale = 127 / values.flatten(1).abs().amax(1)
    return (values * scale.view(-1, *(1,) * (values.dim() - 1))).round().to(dtype), scale


TINY = {
    "vocab_size": 60,
    "num_mel_bins": 6,
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 20,
    "max_source_positions": 10,
    "max_target_positions": 30,
    "pad_token_id": 40,
    "bos_token_id": 40,
    "eos_token_id": 40,
    "decoder_start_token_id": 41,
    "begin_suppress_tokens": [5, 40],
}
TOKENS = [
    *(f"t{index}" for index in range(40)),
    *("<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|fr|>", "<|translate|>", "<|transcribe|>", "<|startoflm|>"),
    *("<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"),
    *(f"<|{place / 50:.2f}|>" for place in range(10)),
]


@pytest.fixture(scope="session")
def whisper() -> Any:
    """A Whisper of random weights."""
    modeling = pytest.importorskip("transept_whisper.modeling")
    configuration = pytest.importorskip("transept_whisper.configuration")
    torch.manual_seed(0)
    model = modeling.WhisperForConditionalGeneration(configuration.WhisperConfig(**TINY)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def converted(model: Any, dtype: torch.dtype = torch.float32) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A Whisper's variables under CTranslate2's names, and the aliases among them."""
    from transept_ctranslate2.names import WHISPER

    tensors = {name: tensor.detach() for name, tensor in model.named_parameters()}
    found: dict[str, Tensor] = {}
    for dotted, tensor in WHISPER.reversed().convert(tensors).items():
        parts: list[str] = []
        for part in dotted.split("."):
            if part.isdecimal():
                parts[-1] += f"_{part}"
            else:
                parts.append(part)
        name = "/".join(parts)
        if dtype in (torch.int8, torch.int16) and tensor.dim() > 1 and "position" not in name:
            found[name], found[f"{name}_scale"] = quantized(tensor, dtype)
        else:
            found[name] = tensor.to(dtype) if dtype.is_floating_point else tensor
    config = model.config
    for side in ("encoder", "decoder"):
        heads = getattr(config, f"{side}_attention_heads")
        found[f"{side}/num_heads"] = torch.tensor(heads, dtype=torch.int16)
    found["decoder/activation"] = torch.tensor(3, dtype=torch.int8)
    found["decoder/scale_embeddings"] = torch.tensor(0, dtype=torch.int8)
    return found, {"decoder/projection/weight": "decoder/embeddings/weight"}


def write_whisper(folder: Path, model: Any, dtype: torch.dtype = torch.float32, **layout: Any) -> Path:
    """A folder as CTranslate2's converter makes it."""
    folder.mkdir(parents=True, exist_ok=True)
    variables, aliases = converted(model, dtype)
    (folder / "model.bin").write_bytes(model_bin(variables, aliases if layout.get("version", 6) >= 3 else {}, **layout))
    settings = {
        "suppress_ids": [1, 2],
        "suppress_ids_begin": [5, 40],
        "lang_ids": [42, 43],
        "alignment_heads": [[1, 0], [2, 1]],
    }
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "vocabulary.json").write_text(json.dumps(TOKENS))
    return folder


@pytest.fixture
def write() -> Any:
    return write_whisper


@pytest.fixture
def as_bytes() -> Any:
    return model_bin


@pytest.fixture
def as_variables() -> Any:
    return converted
