"""A class's `key_map` is how its files are read, and backwards how they are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from transept.checkpoints import KeyMap, Rename, Split, Transpose
from transept.configuration import PretrainedConfig
from transept.model import PreTrainedModel


class Config(PretrainedConfig):
    model_type = "split-on-load"
    width: int = 4


class Model(PreTrainedModel):
    config_class = Config
    key_map = KeyMap(
        [
            Split("*.qkv.weight", ("*.q.weight", "*.k.weight", "*.v.weight"), dim=1),
            Transpose("*.q.weight"),
            Transpose("*.k.weight"),
            Transpose("*.v.weight"),
            Rename("norm.gamma", "norm.weight"),
        ]
    )

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        parts = {name: nn.Linear(config.width, config.width, bias=False) for name in "qkv"}
        self.layers = nn.ModuleList([nn.ModuleDict(parts)])
        self.norm = nn.LayerNorm(config.width, bias=False)
        self.post_init()


@pytest.mark.parametrize("size", ["5GB", "100B"], ids=["one file", "shards"])
@pytest.mark.parametrize("given", [False, True], ids=["the model", "a state dict"])
def test_files_have_the_layout_of_the_table(tmp_path: Path, size: str, given: bool) -> None:
    model = Model(Config())
    state: dict[str, Any] = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.save_pretrained(tmp_path, max_shard_size=size, state_dict=state if given else None)
    files = list(tmp_path.glob("*.safetensors"))
    assert (len(files) > 1) == (size == "100B")
    stored = {name: tensor for file in files for name, tensor in load_file(file).items()}
    parts = [state[f"layers.0.{part}.weight"].T for part in "qkv"]
    assert stored.keys() == {"layers.0.qkv.weight", "norm.gamma"}
    assert torch.equal(stored["layers.0.qkv.weight"], torch.cat(parts, 1))
    loaded = Model.from_pretrained(tmp_path).state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.items())


def test_a_state_dict_has_the_layout_of_the_model() -> None:
    model = Model(Config())
    loaded = Model.from_pretrained(None, config=model.config, state_dict=model.state_dict()).state_dict()
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in loaded.items())


def test_a_key_map_of_the_caller_comes_first(peer_llama, tmp_path):
    """Files whose names somebody changed load with the table that the error names."""
    from safetensors.torch import load_file, save_file

    from transept import AutoModelForCausalLM
    from transept.checkpoints import KeyMap, Rename
    from transept.errors import MissingTensorsError

    folder = peer_llama()
    tensors = load_file(folder / "model.safetensors")
    save_file({f"wrapped.{name}": tensor for name, tensor in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(MissingTensorsError, match=r"`key_map=KeyMap\(\[Rename\(.wrapped\.\*"):
        AutoModelForCausalLM.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, key_map=KeyMap([Rename("wrapped.*", "*")]))
    assert all(torch.equal(model.get_parameter(name), tensor) for name, tensor in tensors.items())
