"""GPTQ's layout written out slowly, and a checkpoint in it."""

import json

import pytest
import torch
from safetensors.torch import save_file
from transept_llama.configuration import LlamaConfig
from transept_llama.modeling import LlamaForCausalLM


def words(values, bits):
    """Values as one large integer, lowest first, cut into int32 words."""
    whole = sum(int(value) << (index * bits) for index, value in enumerate(values))
    found = [(whole >> (32 * index)) & 0xFFFFFFFF for index in range(-(-len(values) * bits // 32))]
    return torch.tensor([word - (1 << 32) if word >> 31 else word for word in found], dtype=torch.int32)


def layer(rows, columns, bits, size, *, version=1, shuffled=False, sym=True, seed=0):
    """Random tensors of a packed layer, and the weight that they stand for."""
    generator = torch.Generator().manual_seed(seed)
    groups = -(-columns // size)
    integers = torch.randint(0, 1 << bits, (columns, rows), generator=generator)
    zeros = torch.randint(1, 1 << bits, (groups, rows), generator=generator)
    if sym:
        zeros = torch.full_like(zeros, 1 << (bits - 1))
    scales = (torch.rand(groups, rows, generator=generator) * 0.02 + 0.01).half()
    g_idx = torch.arange(columns, dtype=torch.int32) // size
    if shuffled:
        g_idx = g_idx[torch.randperm(columns, generator=generator)]
    weight = torch.empty(rows, columns)
    for row in range(rows):
        for column in range(columns):
            group = int(g_idx[column])
            weight[row, column] = float(scales[group, row]) * (int(integers[column, row]) - int(zeros[group, row]))
    stored = zeros - 1 if version == 1 else zeros
    return {
        "qweight": torch.stack([words(integers[:, row], bits) for row in range(rows)], 1),
        "qzeros": torch.stack([words(stored[group], bits) for group in range(groups)]),
        "scales": scales,
        "g_idx": g_idx,
    }, weight


SMALL = {
    "vocab_size": 99,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}


@pytest.fixture(name="layer")
def _layer():
    return layer


@pytest.fixture(name="words")
def _words():
    return words


@pytest.fixture
def checkpoint(tmp_path):
    """`checkpoint(...)`: a folder with a packed llama, and the float model that it stands for."""

    def make(bits=4, size=16, version=1, shuffled=False, sym=True, without=(), config=(), name="packed"):
        torch.manual_seed(0)
        model = LlamaForCausalLM(LlamaConfig(**SMALL)).eval()
        tensors = dict(model.state_dict())
        for number, (path, module) in enumerate(list(model.named_modules())):
            if isinstance(module, torch.nn.Linear) and path != "lm_head":
                packed, weight = layer(
                    *module.weight.shape, bits, size, version=version, shuffled=shuffled, sym=sym, seed=number
                )
                with torch.no_grad():
                    module.weight.copy_(weight)
                del tensors[f"{path}.weight"]
                tensors.update({f"{path}.{one}": tensor for one, tensor in packed.items() if one not in without})
        folder = tmp_path / name
        folder.mkdir()
        save_file({one: tensor.contiguous() for one, tensor in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
        settings = {"quant_method": "gptq", "bits": bits, "group_size": size, "desc_act": shuffled, "sym": sym, **dict(config)}
        if version == 2:
            settings["checkpoint_format"] = "gptq_v2"
        written = {**model.config.to_dict(), "architectures": ["LlamaForCausalLM"], "quantization_config": settings}
        (folder / "config.json").write_text(json.dumps(written))
        return folder, model

    return make
