"""Adapters through the model's own methods: coming, choosing, training, merging, leaving, and files."""

from __future__ import annotations

import warnings

import peft
import pytest
import torch

import transept
from transept.errors import (
    CheckpointNotFoundError,
    InputError,
    MissingTensorsError,
    QuantizationError,
    RewriteError,
    ShapeMismatchError,
    UnexpectedTensorsError,
)
from transept.rewrite import Rewrite

IDS = torch.tensor([[5, 6, 7, 8, 9]])


def lora(**changes):
    return peft.LoraConfig(
        **{"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": False, **changes}
    )


CONFIGS = {
    "lora": lora,
    "dora": lambda: lora(use_dora=True),
    "ia3": lambda: peft.IA3Config(
        target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"], init_ia3_weights=False
    ),
}


@pytest.fixture
def folder(peer_llama):
    return peer_llama(eos_token_id=None)


@pytest.fixture
def model(folder):
    return transept.AutoModelForCausalLM.from_pretrained(folder)


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


@pytest.mark.parametrize("kind", CONFIGS)
def test_an_adapter_comes_trains_merges_and_the_plain_modules_return(model, kind) -> None:
    plain, names = logits(model), [name for name, _ in model.named_parameters()]
    model.add_adapter(CONFIGS[kind]())
    assert model.active_adapters() == ["default"]
    assert not torch.allclose(logits(model), plain)
    model.train()
    model(input_ids=IDS, labels=IDS).loss.backward()
    trained = [name for name, parameter in model.named_parameters() if parameter.grad is not None]
    assert trained
    assert all("lora_" in name or "ia3_" in name for name in trained)
    model.eval()
    model.zero_grad()
    changed = logits(model)
    model.disable_adapters()
    torch.testing.assert_close(logits(model), plain)
    model.enable_adapters()
    torch.testing.assert_close(logits(model), changed)
    model.merge_adapter()
    assert [name for name, _ in model.named_parameters()] == names
    torch.testing.assert_close(logits(model), changed, rtol=1e-4, atol=1e-4)


def test_several_adapters_one_at_a_time_and_together(model) -> None:
    torch.manual_seed(0)
    plain = logits(model)
    model.add_adapter(lora(), "one")
    first = logits(model)
    model.add_adapter(lora(target_modules=["up_proj"]), "two")
    second = logits(model)
    model.set_adapter(["one", "two"])
    assert model.active_adapters() == ["one", "two"]
    both = logits(model)
    assert not torch.allclose(both, first)
    assert not torch.allclose(both, second)
    model.set_adapter("one")
    torch.testing.assert_close(logits(model), first)
    model.delete_adapter("one")
    model.set_adapter("two")
    torch.testing.assert_close(logits(model), second)
    model.delete_adapter("two")
    torch.testing.assert_close(logits(model), plain)
    assert all(type(m) is not peft.tuners.lora.Linear for m in model.modules())
    with pytest.raises(InputError, match="no adapter"):
        model.set_adapter("two")


def test_saved_adapters_load_here_in_peft_and_in_the_peer(model, folder, tmp_path) -> None:
    import transformers

    model.add_adapter(lora(modules_to_save=["lm_head"]))
    want = logits(model)
    model.save_pretrained(tmp_path / "adapter")
    assert {file.name for file in (tmp_path / "adapter").iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    ours = transept.AutoModelForCausalLM.from_pretrained(folder)
    ours.load_adapter(tmp_path / "adapter")
    assert torch.equal(logits(ours), want)
    assert not any(parameter.requires_grad for name, parameter in ours.named_parameters() if "lora_" in name)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder)
    theirs.load_adapter(str(tmp_path / "adapter"))
    torch.testing.assert_close(logits(theirs), want, rtol=1e-4, atol=1e-4)
    wrapped = peft.PeftModel.from_pretrained(transept.AutoModelForCausalLM.from_pretrained(folder), str(tmp_path / "adapter"))
    assert torch.equal(logits(wrapped), want)


def test_the_peers_adapter_loads_here(folder, tmp_path) -> None:
    import transformers

    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder)
    theirs.add_adapter(lora())
    theirs.save_pretrained(tmp_path)
    ours = transept.AutoModelForCausalLM.from_pretrained(folder)
    ours.load_adapter(tmp_path)
    torch.testing.assert_close(logits(ours), logits(theirs), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("door", ["AutoModelForCausalLM", "LlamaForCausalLM"])
def test_an_adapters_folder_is_a_model(model, tmp_path, door) -> None:
    model.add_adapter(lora())
    model.save_pretrained(tmp_path)
    again = getattr(transept, door).from_pretrained(tmp_path, attn_implementation="eager")
    assert again.config.attn_implementation == "eager"
    torch.testing.assert_close(logits(again), logits(model), rtol=1e-5, atol=1e-5)


def test_fused_projections_are_undone_and_said(model) -> None:
    plain = logits(model)
    model.rewrite("fuse_projections")
    with pytest.warns(UserWarning, match="fuse_projections"):
        model.add_adapter(lora())
    model.disable_adapters()
    torch.testing.assert_close(logits(model), plain, rtol=1e-4, atol=1e-5)


def test_a_joining_rewrite_that_cannot_be_undone_is_named(model) -> None:
    class Weld(Rewrite):
        key = "weld"

        def select(self, path, module):
            return path.endswith("layers.0.mlp")

        def build(self, module, path):
            built = torch.nn.Module()
            built.welded = torch.nn.Parameter(torch.empty(2, 2))
            return built

        def convert(self, tensors, built):
            return {"welded": torch.zeros(2, 2)}

    model.rewrite(Weld())
    with pytest.raises(RewriteError, match="weld"):
        model.add_adapter(lora())


def test_products_on_all_cores_give_way_to_plain_layers(folder) -> None:
    model = transept.AutoModelForCausalLM.from_pretrained(folder, rewrites=["matvec"])
    model.add_adapter(lora())
    assert type(model.model.layers[0].self_attn.q_proj.base_layer) is torch.nn.Linear


def test_lora_trains_on_packed_weights_and_does_not_merge(folder) -> None:
    pytest.importorskip("transept_int8")
    model = transept.AutoModelForCausalLM.from_pretrained(
        folder, quantization_config={"quant_method": "int8", "group_size": 16}
    )
    plain = logits(model)
    model.add_adapter(lora(init_lora_weights=True))
    torch.testing.assert_close(logits(model), plain)
    model(input_ids=IDS, labels=IDS).loss.backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if "lora_" in name)
    with pytest.raises(QuantizationError, match="merge"):
        model.merge_adapter()
    model.delete_adapter("default")
    torch.testing.assert_close(logits(model), plain)


def test_wrong_requests_say_what_to_do(model, tmp_path) -> None:
    before = [name for name, _ in model.named_parameters()]
    with pytest.raises(InputError, match="LoraConfig"):
        model.add_adapter({"r": 4})
    with pytest.raises(InputError, match="get_peft_model"):
        model.add_adapter(peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    with pytest.raises(InputError, match="does not fit"):
        model.add_adapter(lora(target_modules=["nowhere"]))
    with pytest.raises(InputError, match="no adapter"):
        model.disable_adapters()
    with pytest.raises(CheckpointNotFoundError, match=r"adapter_config\.json"):
        model.load_adapter(tmp_path)
    assert [name for name, _ in model.named_parameters()] == before
    model.save_pretrained(tmp_path / "whole")
    assert (tmp_path / "whole" / "model.safetensors").exists()  # the requests left nothing behind
    model.add_adapter(lora(), "mine")
    with pytest.raises(InputError, match="already"):
        model.add_adapter(lora(), "mine")
    with pytest.raises(InputError, match=r"no adapter `mime`.*mine"):
        model.set_adapter("mime")


@pytest.mark.parametrize(
    "change", [{"num_hidden_layers": 4}, {"num_hidden_layers": 2}, {"hidden_size": 96}], ids=["deeper", "shallower", "wider"]
)
def test_an_adapter_for_another_model_is_refused_and_leaves_nothing(model, peer_llama, tmp_path, change) -> None:
    other = transept.AutoModelForCausalLM.from_pretrained(peer_llama(**change))
    other.add_adapter(lora())
    other.save_pretrained(tmp_path)
    names = [name for name, _ in model.named_parameters()]
    with pytest.raises((UnexpectedTensorsError, MissingTensorsError, ShapeMismatchError), match="another model"):
        model.load_adapter(tmp_path)
    assert [name for name, _ in model.named_parameters()] == names


def test_virtual_tokens_go_through_peft(model) -> None:
    from transept_peft import get_peft_model

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.rewrite("matvec")
        adapted = get_peft_model(model, peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    adapted(input_ids=IDS, attention_mask=torch.ones_like(IDS), labels=IDS).loss.backward()
    assert any(parameter.grad is not None for parameter in adapted.parameters())
