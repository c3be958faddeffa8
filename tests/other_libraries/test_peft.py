"""peft was written against the peer's models; ours are at home in it."""

from __future__ import annotations

import peft
import pytest
import torch

import transept

IDS = torch.tensor([[5, 6, 7, 8, 9]])


@pytest.fixture
def model(peer_llama):
    return transept.AutoModelForCausalLM.from_pretrained(peer_llama(eos_token_id=None))


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


@pytest.mark.parametrize(
    "config",
    [
        peft.LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], init_lora_weights=False),
        peft.LoraConfig(task_type="CAUSAL_LM", r=4, init_lora_weights=False),
        peft.IA3Config(task_type="CAUSAL_LM", init_ia3_weights=False),
    ],
    ids=["lora", "lora-default-targets", "ia3"],
)
def test_an_adapter_changes_trains_merges_and_leaves(model, config) -> None:
    want = logits(model)
    adapted = peft.get_peft_model(model, config)
    assert not torch.allclose(logits(adapted), want)
    with adapted.disable_adapter():
        torch.testing.assert_close(logits(adapted), want)
    adapted.train()
    adapted(input_ids=IDS, labels=IDS).loss.backward()
    trained = [name for name, p in adapted.named_parameters() if p.grad is not None]
    assert trained
    assert all("lora" in name or "ia3" in name for name in trained)
    adapted.eval()
    changed = logits(adapted)
    merged = adapted.merge_and_unload()
    torch.testing.assert_close(logits(merged), changed, rtol=1e-4, atol=1e-4)


def test_an_adapter_generates_saves_and_comes_back(model, peer_llama, tmp_path) -> None:
    adapted = peft.get_peft_model(
        model, peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj"], init_lora_weights=False)
    )
    mask = torch.ones_like(IDS)
    tokens = adapted.generate(input_ids=IDS, attention_mask=mask, max_new_tokens=6, do_sample=False)
    assert tokens.shape == (1, 11)
    adapted.save_pretrained(tmp_path / "adapter")
    fresh = transept.AutoModelForCausalLM.from_pretrained(model.name_or_path)
    again = peft.PeftModel.from_pretrained(fresh, tmp_path / "adapter")
    assert torch.equal(again.generate(input_ids=IDS, attention_mask=mask, max_new_tokens=6, do_sample=False), tokens)


@pytest.mark.parametrize(
    "config",
    [
        peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
        peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
    ],
    ids=["prompt", "prefix"],
)
def test_virtual_tokens_train_and_generate(model, config) -> None:
    adapted = peft.get_peft_model(model, config)
    adapted.train()
    loss = adapted(input_ids=IDS, attention_mask=torch.ones_like(IDS), labels=IDS).loss
    loss.backward()
    assert any(p.grad is not None for p in adapted.parameters())
    adapted.eval()
    assert adapted.generate(input_ids=IDS, attention_mask=torch.ones_like(IDS), max_new_tokens=4, do_sample=False).shape[1] >= 4


def test_the_peers_adapter_loads_on_our_model(peer_llama, tmp_path) -> None:
    import transformers

    folder = peer_llama()
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "up_proj"], init_lora_weights=False)
    peer = peft.get_peft_model(transformers.AutoModelForCausalLM.from_pretrained(folder), config)
    peer.save_pretrained(tmp_path)
    ours = peft.PeftModel.from_pretrained(transept.AutoModelForCausalLM.from_pretrained(folder), tmp_path)
    torch.testing.assert_close(logits(ours), logits(peer), rtol=1e-4, atol=1e-4)
