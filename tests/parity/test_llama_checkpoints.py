"""Checkpoints go both ways between the peer and us, and the numbers stay the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers

import transept

ROPES = {
    "default": {"rope_type": "default", "rope_theta": 5000.0},
    "linear": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0},
    "dynamic": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0},
    "yarn": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32},
    "longrope": {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0, 1.1, 1.2, 1.3],
        "long_factor": [2.0, 2.5, 3.0, 4.0],
        "original_max_position_embeddings": 64,
    },
    "llama3": {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
}
SHAPES = {
    "gqa": {},
    "mha": {"num_key_value_heads": 6},
    "mqa": {"num_key_value_heads": 1},
    "tied": {"tie_word_embeddings": True},
    "head_dim": {"head_dim": 16},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "gelu": {"hidden_act": "gelu"},
    **{f"rope_{name}": {"rope_parameters": rope} for name, rope in ROPES.items()},
}


def relative(ours: torch.Tensor, peer: torch.Tensor) -> float:
    return float((ours - peer).abs().max() / peer.abs().max())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_logits_of_a_peer_checkpoint_are_equal(peer_llama, shape: str) -> None:
    folder = peer_llama(**SHAPES[shape])
    ours = transept.AutoModelForCausalLM.from_pretrained(folder)
    peer = transformers.AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.randint(1, 131, (2, 90), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert relative(ours(ids).logits, peer(ids).logits) < 1e-5
    assert ours.load_report.missing == [] or not ours.load_report.missing
    assert type(ours).__name__ == "LlamaForCausalLM"


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_what_we_save_the_peer_loads(peer_llama, tmp_path: Path, shape: str) -> None:
    folder = peer_llama(**SHAPES[shape])
    ours = transept.AutoModelForCausalLM.from_pretrained(folder)
    ours.save_pretrained(tmp_path / "ours")
    peer, info = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    original = transformers.AutoModelForCausalLM.from_pretrained(folder)
    for (name, a), (_, b) in zip(original.state_dict().items(), peer.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    want, got = original.config.to_dict(), peer.config.to_dict()
    for key in ("transformers_version", "_name_or_path", "transept"):
        want.pop(key, None), got.pop(key, None)
    assert got == want
    again = transept.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_checkpoints_keep_their_dtype(peer_llama, dtype: torch.dtype) -> None:
    folder = peer_llama(dtype=dtype)
    ours = transept.AutoModelForCausalLM.from_pretrained(folder)
    assert ours.dtype == dtype
    assert {p.dtype for p in ours.parameters()} == {dtype}
    peer = transformers.AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.randint(1, 131, (1, 20))
    with torch.no_grad():
        assert relative(ours(ids).logits.float(), peer(ids).logits.float()) < 3e-2
    wide = transept.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    peer_wide = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        assert relative(wide(ids).logits, peer_wide(ids).logits) < 1e-5


def test_shards_of_the_peer_load_and_ours_load_there(peer_llama, tmp_path: Path) -> None:
    folder = peer_llama(max_shard_size="40KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    ours = transept.LlamaForCausalLM.from_pretrained(folder)
    peer = transformers.LlamaForCausalLM.from_pretrained(folder)
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), peer.state_dict().values(), strict=True))
    ours.save_pretrained(tmp_path / "ours", max_shard_size="50KB")
    index = json.loads((tmp_path / "ours" / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 2
    back = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "ours")
    assert all(torch.equal(a, b) for a, b in zip(back.state_dict().values(), peer.state_dict().values(), strict=True))


@pytest.mark.parametrize("head", ["Model", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering"])
def test_each_head_loads_both_ways(peer_llama, tmp_path: Path, head: str) -> None:
    folder = peer_llama(head=head)
    ours = getattr(transept, f"Llama{head}").from_pretrained(folder)
    peer = getattr(transformers, f"Llama{head}").from_pretrained(folder)
    ids = torch.randint(1, 131, (2, 17), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        for a, b in zip(ours(ids).to_tuple(), peer(ids).to_tuple(), strict=True):
            if isinstance(a, torch.Tensor):
                assert relative(a, b) < 1e-5
    ours.save_pretrained(tmp_path / "ours")
    _, info = getattr(transformers, f"Llama{head}").from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]


def test_a_task_model_loads_from_a_language_model_and_says_which_weights_are_new(peer_llama) -> None:
    folder = peer_llama()
    model, info = transept.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=5, output_loading_info=True)
    assert info["missing_keys"] == ["score.weight"] or set(info["missing_keys"]) == {"score.weight"}
    assert model.score.weight.shape == (5, 48)
    assert torch.isfinite(model.score.weight).all()
    assert 0 < model.score.weight.std() < 1
    base = transept.LlamaModel.from_pretrained(folder)
    assert torch.equal(base.layers[0].mlp.up_proj.weight, model.model.layers[0].mlp.up_proj.weight)


@pytest.mark.parametrize("shape", ["gqa", "tied", "rope_dynamic", "rope_llama3"])
def test_greedy_tokens_are_equal(peer_llama, shape: str) -> None:
    folder = peer_llama(**SHAPES[shape], eos_token_id=None)
    ours = transept.AutoModelForCausalLM.from_pretrained(folder)
    peer = transformers.AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.randint(1, 131, (2, 7), generator=torch.Generator().manual_seed(3))
    arguments = {"max_new_tokens": 30, "do_sample": False, "attention_mask": torch.ones_like(ids)}
    assert torch.equal(ours.generate(ids, **arguments), peer.generate(ids, **arguments))


def test_sampling_draws_the_same_tokens_from_the_same_seed(peer_llama) -> None:
    folder = peer_llama(eos_token_id=None)
    ours = transept.AutoModelForCausalLM.from_pretrained(folder)
    peer = transformers.AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.randint(1, 131, (2, 7), generator=torch.Generator().manual_seed(3))
    arguments = {
        "max_new_tokens": 20,
        "do_sample": True,
        "top_k": 20,
        "top_p": 0.9,
        "temperature": 0.8,
        "attention_mask": torch.ones_like(ids),
    }
    torch.manual_seed(5)
    want = peer.generate(ids, **arguments)
    torch.manual_seed(5)
    assert torch.equal(ours.generate(ids, **arguments), want)


def test_question_answering_starts_from_a_language_model(peer_llama) -> None:
    """Its base has another prefix than its siblings'; the peer initialises all of it anew, without an error."""
    folder = peer_llama()
    model, info = transept.AutoModelForQuestionAnswering.from_pretrained(folder, output_loading_info=True)
    assert set(info["missing_keys"]) == {"qa_outputs.weight", "qa_outputs.bias"}
    language_model = transept.AutoModelForCausalLM.from_pretrained(folder)
    assert torch.equal(model.transformer.norm.weight, language_model.model.norm.weight)
    assert torch.equal(model.transformer.layers[1].mlp.up_proj.weight, language_model.model.layers[1].mlp.up_proj.weight)
