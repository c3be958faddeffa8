"""peft finds the layers that it has adapters for, and one step of training changes nothing else."""

import pytest
import torch

from transept import AutoModelForCausalLM, BitsAndBytesConfig
from transept.rewrite import saved_tensors

peft = pytest.importorskip("peft")
from peft.tuners.lora import bnb as adapters  # noqa: E402

IDS = torch.arange(3, 21).view(2, 9)
SETTINGS = {
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
    "8 bits": {"load_in_8bit": True},
}


def base_tensors(model):
    return {name: tensor.clone() for name, tensor in saved_tensors(model)[0].items()}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "recomputed"])
def test_a_step_changes_adapters_alone(setting, checkpointing, llama_folder):
    model = AutoModelForCausalLM.from_pretrained(llama_folder, quantization_config=BitsAndBytesConfig(**SETTINGS[setting]))
    before = base_tensors(model)
    model = peft.prepare_model_for_kbit_training(model, use_gradient_checkpointing=checkpointing)
    targets = ["q_proj", "v_proj", "down_proj"]
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, lora_alpha=8, target_modules=targets, task_type="CAUSAL_LM"))
    kind = adapters.Linear4bit if setting == "nf4" else adapters.Linear8bitLt
    layer = adapted.base_model.model.model.layers[0].self_attn.q_proj
    assert type(layer) is kind
    trained = {name: p for name, p in adapted.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    optimizer = torch.optim.SGD(trained.values(), lr=1e-2)
    losses = []
    adapted.train()
    for _ in range(3):
        loss = adapted(input_ids=IDS, labels=IDS).loss
        loss.backward()
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in trained.values())
        assert max(float(p.grad.abs().max()) for p in trained.values() if p.grad is not None) > 0
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    moved = [name for name in trained if "lora_B" in name and trained[name].abs().max() > 0]
    assert len(moved) == 2 * len(targets)
    left = adapted.unload()
    after = base_tensors(left)
    for name, tensor in before.items():
        assert torch.equal(after[name].to(tensor.dtype), tensor), name


@pytest.mark.parametrize("setting", SETTINGS)
def test_an_adapter_comes_back(setting, llama_folder, tmp_path):
    asked = BitsAndBytesConfig(**SETTINGS[setting])
    model = AutoModelForCausalLM.from_pretrained(llama_folder, quantization_config=asked)
    config = peft.LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    adapted = peft.get_peft_model(model, config).eval()
    adapted.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(llama_folder, quantization_config=asked), tmp_path
    ).eval()
    with torch.no_grad():
        assert torch.equal(again(input_ids=IDS).logits, adapted(input_ids=IDS).logits)


def test_layers_of_a_mixed_model_get_their_own_adapters(llama_folder):
    table = {"*.q_proj": BitsAndBytesConfig(**SETTINGS["nf4"]), "*.v_proj": BitsAndBytesConfig(**SETTINGS["8 bits"])}
    model = AutoModelForCausalLM.from_pretrained(llama_folder, quantization_config=table)
    assert model.is_loaded_in_4bit
    assert model.is_loaded_in_8bit
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "k_proj", "v_proj"], task_type="CAUSAL_LM")
    attention = peft.get_peft_model(model, config).base_model.model.model.layers[0].self_attn
    assert type(attention.q_proj) is adapters.Linear4bit
    assert type(attention.v_proj) is adapters.Linear8bitLt
    assert type(attention.k_proj) is peft.tuners.lora.layer.Linear
