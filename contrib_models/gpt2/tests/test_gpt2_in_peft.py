"""peft finds GPT-2's projections, and an adapter goes between the peer's model and ours."""

import pytest
import torch
from transept_gpt2.configuration import GPT2Config
from transept_gpt2.modeling import GPT2LMHeadModel

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

TINY = {"vocab_size": 61, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2, "bos_token_id": 1, "eos_token_id": None}
IDS = torch.arange(14).reshape(2, 7)


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(**TINY)).save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


@pytest.mark.parametrize("targets", [None, ["c_attn"], ["c_attn", "c_proj", "c_fc"]], ids=str)
def test_lora_trains_and_merges(folder, targets, tmp_path):
    torch.manual_seed(0)
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=targets, init_lora_weights=False)
    model = peft.get_peft_model(GPT2LMHeadModel.from_pretrained(folder), config)
    model(input_ids=IDS, labels=IDS).loss.backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert trained
    assert all("lora_" in name for name in trained)
    expected = logits(model)
    merged = model.merge_and_unload()
    torch.testing.assert_close(logits(merged), expected)
    merged.save_pretrained(tmp_path / "merged")
    peer = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(peer), expected)


def test_an_adapter_goes_both_ways(folder, tmp_path):
    kinds = {"ours": GPT2LMHeadModel, "peer": transformers.GPT2LMHeadModel}
    for name, kind in kinds.items():
        torch.manual_seed(1)
        config = peft.LoraConfig(task_type="CAUSAL_LM", r=2, init_lora_weights=False, fan_in_fan_out=name == "peer")
        adapted = peft.get_peft_model(kind.from_pretrained(folder), config)
        adapted.save_pretrained(tmp_path / name)
        other = kinds["peer" if name == "ours" else "ours"]
        with_adapter = peft.PeftModel.from_pretrained(other.from_pretrained(folder), tmp_path / name)
        torch.testing.assert_close(logits(with_adapter), logits(adapted))
        assert not torch.allclose(logits(adapted), logits(kind.from_pretrained(folder)))
