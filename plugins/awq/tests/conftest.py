"""AWQ's layouts written out slowly, and a checkpoint in them."""

import json

import pytest
import torch
from safetensors.torch import save_file
from transept_llama.configuration import LlamaConfig
from transept_llama.modeling import LlamaForCausalLM

ORDER = {"gemm": [0, 2, 4, 6, 1, 3, 5, 7], "gemv": [0, 1, 2, 3, 4, 5, 6, 7]}


def words(values, order):
    """Values eight to a word, in this order from the lowest four bits."""
    found = []
    for start in range(0, len(values), 8):
        eight = [int(value) for value in values[start : start + 8]]
        word = sum(eight[one] << (4 * index) for index, one in enumerate(order) if one < len(eight))
        found.append(word - (1 << 32) if word >> 31 else word)
    return torch.tensor(found, dtype=torch.int32)


def layer(rows, columns, size, version="gemm", seed=0, middle=False):
    """Random tensors of a packed layer, and the weight that they stand for."""
    generator = torch.Generator().manual_seed(seed)
    groups = columns // size
    integers = torch.randint(0, 16, (rows, columns), generator=generator)
    zeros = torch.randint(0, 16, (rows, groups), generator=generator)
    if middle:
        zeros = torch.full_like(zeros, 8)
    scales = (torch.rand(rows, groups, generator=generator) * 0.02 + 0.01).half()
    weight = torch.empty(rows, columns)
    for row in range(rows):
        for column in range(columns):
            group = column // size
            weight[row, column] = float(scales[row, group]) * (int(integers[row, column]) - int(zeros[row, group]))
    order = ORDER[version]
    if version == "gemm":
        packed = {
            "qweight": torch.stack([words(integers[:, column], order) for column in range(columns)]),
            "qzeros": torch.stack([words(zeros[:, group], order) for group in range(groups)]),
            "scales": scales.T.contiguous(),
        }
        return packed, weight
    step = {32: 4, 64: 2}.get(size, 1)
    width = (groups + 7) // 8
    width = (width + step - 1) // step * step
    qzeros = torch.zeros(rows, width, dtype=torch.int32)
    padded = torch.zeros(rows, 8 * width).half()
    padded[:, :groups] = scales
    for row in range(rows):
        found = words(zeros[row], order)
        qzeros[row, : len(found)] = found
    return {"qweight": torch.stack([words(row, order) for row in integers]), "qzeros": qzeros, "scales": padded}, weight


SMALL = {
    "vocab_size": 99,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}


@pytest.fixture(name="layer")
def _layer():
    return layer


@pytest.fixture
def checkpoint(tmp_path):
    """`checkpoint(...)`: a folder with a packed llama, and the float model that it stands for."""

    def make(version="gemm", size=32, middle=False, without=(), config=(), bias=False, extra=()):
        torch.manual_seed(0)
        model = LlamaForCausalLM(LlamaConfig(**SMALL, attention_bias=bias)).eval()
        tensors = dict(model.state_dict())
        for number, (path, module) in enumerate(list(model.named_modules())):
            if isinstance(module, torch.nn.Linear) and path != "lm_head":
                packed, weight = layer(*module.weight.shape, size, version, number, middle)
                with torch.no_grad():
                    module.weight.copy_(weight)
                del tensors[f"{path}.weight"]
                tensors.update({f"{path}.{one}": tensor for one, tensor in packed.items() if one not in without})
        folder = tmp_path / "packed"
        folder.mkdir()
        tensors.update(dict(extra))
        save_file({one: tensor.contiguous() for one, tensor in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
        settings = {"quant_method": "awq", "bits": 4, "group_size": size, "version": version, "zero_point": not middle}
        written = {
            **model.config.to_dict(),
            "architectures": ["LlamaForCausalLM"],
            "quantization_config": {**settings, **dict(config)},
        }
        (folder / "config.json").write_text(json.dumps(written))
        return folder, model

    return make
