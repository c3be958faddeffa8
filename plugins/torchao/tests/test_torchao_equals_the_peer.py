"""The same packed tensors as the peer's, its checkpoints read here, and ours read there."""

import pytest
import torch
from safetensors import safe_open
from torchao.quantization import Int8DynamicActivationInt8WeightConfig, Int8WeightOnlyConfig, IntxWeightOnlyConfig, PerGroup

from transept import AutoModelForCausalLM, TorchAoConfig

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.parity

IDS = torch.arange(3, 21).view(2, 9)
KINDS = {
    "int8": Int8WeightOnlyConfig,
    "int8 dynamic": Int8DynamicActivationInt8WeightConfig,
    "int4 in groups": lambda: IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(32)),
}


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits.float()


def assert_near(found, expected, kind):
    # where inputs are rounded, a last bit of one can be a whole step of it
    limit = 1e-2 if "DynamicActivation" in type(kind).__name__ else 1e-4
    assert (found - expected).abs().max() <= limit * expected.abs().max()


def content(folder):
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118 (it is no dict)


@pytest.fixture(scope="module", params=list(KINDS))
def pair(request, llama_folder, tmp_path_factory):
    """What to quantize by, the folder that the peer saves, and the one that we save."""
    theirs, ours = tmp_path_factory.mktemp("theirs"), tmp_path_factory.mktemp("ours")
    kind = KINDS[request.param]()
    asked = transformers.TorchAoConfig(kind)
    transformers.LlamaForCausalLM.from_pretrained(llama_folder, quantization_config=asked).save_pretrained(theirs)
    asked = TorchAoConfig(kind)
    AutoModelForCausalLM.from_pretrained(llama_folder, quantization_config=asked).save_pretrained(ours)
    return kind, theirs, ours


def test_files_are_the_peers(pair):
    (theirs, their_words), (ours, our_words) = (content(folder) for folder in pair[1:])
    assert sorted(ours) == sorted(theirs)
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype, name
        assert torch.equal(ours[name], tensor), name
    packed = [name for name, said in their_words.items() if "_tensor_data_names" in said]
    assert packed
    assert {name: our_words[name] for name in packed} == {name: their_words[name] for name in packed}


def test_a_checkpoint_of_the_peers_is_read(pair):
    _, folder, _ = pair
    peer = transformers.LlamaForCausalLM.from_pretrained(folder)
    assert_near(logits(AutoModelForCausalLM.from_pretrained(folder)), logits(peer), pair[0])


def test_the_peer_reads_ours(pair):
    _, _, folder = pair
    peer, info = transformers.LlamaForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert_near(logits(peer), logits(AutoModelForCausalLM.from_pretrained(folder)), pair[0])


def test_settings_read_each_other(pair):
    kind = pair[0]
    ours = TorchAoConfig(kind, modules_to_not_convert=["lm_head"])
    theirs = transformers.TorchAoConfig(kind, modules_to_not_convert=["lm_head"])
    assert TorchAoConfig.from_dict(theirs.to_dict()).to_dict() == ours.to_dict()
    assert transformers.TorchAoConfig.from_dict(ours.to_dict()).to_dict() == theirs.to_dict()
