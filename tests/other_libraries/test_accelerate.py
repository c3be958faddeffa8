"""Several places for one model: `transept-accelerate` spreads it, and its numbers stay the same."""

from __future__ import annotations

import pytest
import torch

import transept
from transept.errors import PlacementError

IDS = torch.tensor([[5, 6, 7, 8, 9]])


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


def test_auto_takes_one_device_where_everything_fits(peer_llama) -> None:
    model = transept.AutoModelForCausalLM.from_pretrained(peer_llama(), device_map="auto")
    assert set(model.hf_device_map) == {""}
    assert model.device.type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("tied", [False, True])
def test_layers_on_disk_give_the_same_logits_and_tokens(peer_llama, tmp_path, tied: bool) -> None:
    folder = peer_llama(tie_word_embeddings=tied, eos_token_id=None)
    plain = transept.AutoModelForCausalLM.from_pretrained(folder)
    placed = {"": "cpu", "model.layers.0": "disk", "model.layers.2": "disk"}
    model = transept.AutoModelForCausalLM.from_pretrained(folder, device_map=placed, offload_folder=tmp_path / "offload")
    assert {path for path, device in model.hf_device_map.items() if device == "disk"} == {"model.layers.0", "model.layers.2"}
    assert model.model.layers[0].mlp.up_proj.weight.is_meta
    assert list((tmp_path / "offload").glob("model.layers.0.*"))
    assert torch.equal(logits(model), logits(plain))
    mask = torch.ones_like(IDS)
    assert torch.equal(
        model.generate(IDS, attention_mask=mask, max_new_tokens=6, do_sample=False),
        plain.generate(IDS, attention_mask=mask, max_new_tokens=6, do_sample=False),
    )


def test_everything_on_disk_in_a_temporary_folder(peer_llama) -> None:
    folder = peer_llama()
    model = transept.AutoModelForCausalLM.from_pretrained(folder, device_map="disk")
    assert all(parameter.is_meta for parameter in model.parameters())
    assert torch.equal(logits(model), logits(transept.AutoModelForCausalLM.from_pretrained(folder)))


def test_memory_limits_push_layers_to_disk(peer_llama, tmp_path) -> None:
    folder = peer_llama()
    model = transept.AutoModelForCausalLM.from_pretrained(
        folder, device_map="auto", max_memory={"cpu": 120_000, "disk": 10_000_000}, offload_folder=tmp_path / "offload"
    )
    assert "disk" in {str(device) for device in model.hf_device_map.values()}
    assert torch.equal(logits(model), logits(transept.AutoModelForCausalLM.from_pretrained(folder)))


@pytest.mark.parametrize(
    ("device_map", "words"),
    [
        ({"": "cpu", "model.layer.0": "disk"}, "model.layer.0"),
        ({"model.layers.0": "cpu"}, "without a device"),
        ({"": "cuda:77"}, "cuda:77"),
        ("gpu", "gpu"),
    ],
)
def test_a_wrong_map_is_refused_with_the_culprit(peer_llama, device_map, words: str) -> None:
    with pytest.raises(PlacementError, match=words):
        transept.AutoModelForCausalLM.from_pretrained(peer_llama(), device_map=device_map)


def test_accelerates_output_conversion_keeps_the_output_class(peer_llama) -> None:
    from accelerate.utils import convert_outputs_to_fp32, recursively_apply, send_to_device

    model = transept.AutoModelForCausalLM.from_pretrained(peer_llama(), dtype=torch.bfloat16)
    with torch.no_grad():
        out = convert_outputs_to_fp32(model.forward)(IDS, use_cache=False)
    assert type(out).__name__ == "CausalLMOutputWithPast"
    assert out.logits.dtype == torch.float32
    moved = send_to_device(out, "cpu")
    assert type(moved) is type(out)
    doubled = recursively_apply(lambda tensor: tensor * 2, out)
    assert torch.equal(doubled.logits, out.logits * 2)


def test_an_accelerator_prepares_and_trains_it(peer_llama) -> None:
    from accelerate import Accelerator

    model = transept.AutoModelForCausalLM.from_pretrained(peer_llama()).train()
    accelerator = Accelerator(cpu=True)
    model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1))
    before = model.model.norm.weight.detach().clone()
    accelerator.backward(model(IDS, labels=IDS).loss)
    optimizer.step()
    assert not torch.equal(before, accelerator.unwrap_model(model).model.norm.weight)
