"""Checkpoints that the compressed-tensors package compressed, as llm-compressor writes them."""

import json

import pytest
import torch
from safetensors.torch import save_file
from transept_llama.configuration import LlamaConfig
from transept_llama.modeling import LlamaForCausalLM

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


def weights(**settings):
    return {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "channel", **settings}


def compress(weight, arguments, layout):
    """One layer's tensors by the package's own compressor, with scales and zeros of its own making."""
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.utils import calculate_qparams

    args = QuantizationArgs(**arguments)
    rows, columns = weight.shape
    if args.strategy == "tensor":
        low, high = weight.min().view(1), weight.max().view(1)
    elif args.strategy == "channel":
        low, high = weight.amin(1, keepdim=True), weight.amax(1, keepdim=True)
    elif args.strategy == "group":
        groups = weight.view(rows, -1, args.group_size)
        low, high = groups.amin(-1), groups.amax(-1)
    else:
        tall, wide = args.block_structure
        blocks = weight.view(rows // tall, tall, columns // wide, wide)
        low, high = blocks.amin((1, 3)), blocks.amax((1, 3))
    scale, zero = calculate_qparams(low, high, args)
    state = {"weight": weight, "weight_scale": scale, "weight_zero_point": zero}
    compressor = BaseCompressor.get_value_from_registry(layout)
    scheme = QuantizationScheme(targets=["Linear"], weights=args, format=layout)
    packed = compressor.compress(state, scheme)
    return packed, compressor.decompress(packed, scheme)["weight"]


@pytest.fixture
def checkpoint(tmp_path):
    """`checkpoint({suffix of a path: (weights, layout)}, ...)`: a folder, and the float model that it stands for."""

    def make(groups, inputs=None, config=(), change=None, group_config=None):
        pytest.importorskip("compressed_tensors")
        torch.manual_seed(0)
        model = LlamaForCausalLM(LlamaConfig(**SMALL)).eval()
        tensors = dict(model.state_dict())
        for path, module in model.named_modules():
            ends = [end for end in groups if path.endswith(end)]
            if isinstance(module, torch.nn.Linear) and path != "lm_head" and ends:
                packed, weight = compress(module.weight.detach(), *groups[ends[0]])
                with torch.no_grad():
                    module.weight.copy_(weight)
                del tensors[f"{path}.weight"]
                tensors.update({f"{path}.{name}": tensor for name, tensor in packed.items()})
                if inputs is not None and not inputs["dynamic"]:
                    tensors[f"{path}.input_scale"] = torch.tensor([0.02])
        if change is not None:
            change(tensors)
        folder = tmp_path / "packed"
        folder.mkdir()
        save_file({one: tensor.contiguous() for one, tensor in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
        described = group_config or {
            f"group_{number}": {
                "targets": ["Linear"] if len(groups) == 1 else [f"re:.*{end}$"],
                "weights": values,
                "input_activations": inputs,
                "format": layout,
            }
            for number, (end, (values, layout)) in enumerate(groups.items())
        }
        layouts = {layout for _, layout in groups.values()}
        settings = {
            "quant_method": "compressed-tensors",
            "config_groups": described,
            "format": layouts.pop() if len(layouts) == 1 else "mixed-precision",
            "quantization_status": "compressed",
            "kv_cache_scheme": None,
            "global_compression_ratio": None,
            "ignore": ["lm_head"],
            **dict(config),
        }
        written = {**model.config.to_dict(), "architectures": ["LlamaForCausalLM"], "quantization_config": settings}
        (folder / "config.json").write_text(json.dumps(written))
        return folder, model

    return make


@pytest.fixture(name="weights")
def _weights():
    return weights
