"""A model behaves as any torch module: copies, pickles, moves, compiles, exports."""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys

import pytest
import torch
from torch.utils import _pytree as pytree

import transept


@pytest.fixture
def model(peer_llama):
    return transept.AutoModelForCausalLM.from_pretrained(peer_llama(eos_token_id=None))


IDS = torch.tensor([[5, 6, 7, 8, 9]])


def logits(model, ids=IDS):
    with torch.no_grad():
        return model(ids).logits


def test_deepcopy_and_pickle_give_the_same_model(model) -> None:
    want = logits(model)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other is not model
        assert torch.equal(logits(other), want)
        other.get_parameter("model.norm.weight").data.zero_()
    assert torch.equal(logits(model), want)


def test_ties_survive_copies_moves_and_casts(peer_llama) -> None:
    model = transept.AutoModelForCausalLM.from_pretrained(peer_llama(tie_word_embeddings=True))
    for other in (
        model,
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model).half(),
        copy.deepcopy(model).to(torch.float64),
    ):
        assert other.lm_head.weight is other.model.embed_tokens.weight
    assert model.num_parameters() == sum(p.numel() for p in {id(p): p for p in model.parameters()}.values())


def test_state_dict_loads_strictly(model, peer_llama) -> None:
    other = transept.AutoModelForCausalLM.from_config(model.config)
    assert not torch.equal(logits(other.eval()), logits(model))
    result = other.load_state_dict(model.state_dict(), strict=True)
    assert not result.missing_keys
    assert torch.equal(logits(other), logits(model))


def test_forward_under_compile_has_no_graph_break(model) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with torch.no_grad():
        out = compiled(IDS, use_cache=False)
    torch.testing.assert_close(out.logits, logits(model), rtol=1e-4, atol=1e-4)


def test_export_carries_no_cache_unless_asked(model) -> None:
    with torch.no_grad():
        program = torch.export.export(model, (IDS,), kwargs={"use_cache": False}, strict=False)
        out = program.module()(IDS, use_cache=False)
    assert "past_key_values" not in out
    torch.testing.assert_close(out.logits, logits(model), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", ["Bert", "GPT2", "T5"])
def test_a_traced_model_takes_other_batches_lengths_and_masks(name: str) -> None:
    """`torch.jit.trace`, with which many encoders are still served."""
    small = {"vocab_size": 40, "hidden_size": 16, "num_attention_heads": 2, "return_dict": False}
    settings: dict = {
        "Bert": {"num_hidden_layers": 1, "intermediate_size": 24, **small},
        "GPT2": {"num_hidden_layers": 1, "max_position_embeddings": 32, "use_cache": False, **small},
        "T5": {"num_hidden_layers": 1, "d_kv": 8, "d_ff": 24, **small},
    }[name]
    model = getattr(transept, "T5EncoderModel" if name == "T5" else f"{name}Model")
    model = model(getattr(transept, f"{name}Config")(**settings)).eval()

    def inputs(batch: int, length: int, padded: int) -> dict[str, torch.Tensor]:
        mask = torch.ones(batch, length, dtype=torch.long)
        mask[0, length - padded :] = 0
        return {"input_ids": torch.randint(0, 40, (batch, length)), "attention_mask": mask}

    traced = torch.jit.trace(model, example_kwarg_inputs=inputs(2, 7, 2), check_trace=False)
    with torch.no_grad():
        for given in (inputs(3, 9, 4), inputs(1, 4, 0)):
            torch.testing.assert_close(traced(**given)[0], model(**given)[0])


def test_outputs_and_caches_are_pytrees(model) -> None:
    with torch.no_grad():
        out = model(IDS, use_cache=True)
    leaves, spec = pytree.tree_flatten(out)
    assert all(isinstance(leaf, torch.Tensor) for leaf in leaves)
    again = pytree.tree_unflatten(leaves, spec)
    assert type(again) is type(out)
    assert again.past_key_values.get_seq_length() == 5
    assert type(out)(dict(out)).logits is out.logits
    assert type(out)([(k, v) for k, v in out.items()]).logits is out.logits


def test_training_reaches_every_parameter_with_and_without_checkpointing(model) -> None:
    gradients = []
    for checkpointing in (False, True):
        model.zero_grad()
        model.train()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False, "preserve_rng_state": True})
            assert model.is_gradient_checkpointing
        loss = model(input_ids=IDS, labels=IDS, use_cache=False).loss
        loss.backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
        gradients.append([p.grad.clone() for p in model.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed, rtol=1e-4, atol=1e-5)
    model.gradient_checkpointing_disable()
    assert not model.is_gradient_checkpointing


def test_a_mapped_model_trains_and_its_file_stays(peer_llama, tmp_path) -> None:
    folder = peer_llama()
    before = (folder / "model.safetensors").read_bytes()
    model = transept.AutoModelForCausalLM.from_pretrained(folder).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    losses = []
    for _ in range(5):
        loss = model(IDS, labels=IDS).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert (folder / "model.safetensors").read_bytes() == before
    model.save_pretrained(folder)
    again = transept.AutoModelForCausalLM.from_pretrained(folder)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_resizing_keeps_rows_ties_and_the_way_back(peer_llama, tmp_path) -> None:
    for tied in (False, True):
        model = transept.AutoModelForCausalLM.from_pretrained(peer_llama(f"tied-{tied}", tie_word_embeddings=tied))
        want = logits(model)
        embeddings = model.resize_token_embeddings(140)
        assert embeddings.weight.shape == (140, 48)
        assert model.config.vocab_size == 140
        assert model.lm_head.weight.shape == (140, 48)
        assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied
        torch.testing.assert_close(logits(model)[..., :131], want)
        model.save_pretrained(tmp_path / f"{tied}")
        assert torch.equal(logits(transept.AutoModelForCausalLM.from_pretrained(tmp_path / f"{tied}")), logits(model))
        assert model.resize_token_embeddings(pad_to_multiple_of=64).weight.shape[0] == 192
        model.resize_token_embeddings(131)
        torch.testing.assert_close(logits(model), want)


def test_save_and_load_in_a_new_process(model, tmp_path) -> None:
    model.save_pretrained(tmp_path)
    code = (
        f"import torch, transept\ntorch.set_num_threads({torch.get_num_threads()})\n"
        f"model = transept.AutoModelForCausalLM.from_pretrained({str(tmp_path)!r})\n"
        "with torch.no_grad():\n    out = model(torch.tensor([[5, 6, 7, 8, 9]])).logits\n"
        f"torch.save(out, {str(tmp_path / 'out.pt')!r})\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    want = torch.load(io.BytesIO((tmp_path / "out.pt").read_bytes()), weights_only=True)
    torch.testing.assert_close(logits(model), want, rtol=1e-6, atol=1e-6)


def test_autocast_gives_finite_losses(model) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.isfinite(model(IDS, labels=IDS).loss)


def test_a_head_that_was_set_apart_is_saved_and_comes_back(peer_llama, tmp_path) -> None:
    model = transept.AutoModelForCausalLM.from_pretrained(peer_llama(tie_word_embeddings=True))
    model.untie("lm_head.weight")
    with torch.no_grad():
        model.lm_head.weight.mul_(2)
    model.save_pretrained(tmp_path)
    again = transept.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert again.lm_head.weight is not again.model.embed_tokens.weight
    assert torch.equal(logits(again), logits(model))


def test_a_checkpoint_with_two_values_for_a_tie_keeps_both(peer_llama) -> None:
    from safetensors.torch import load_file, save_file

    folder = peer_llama(tie_word_embeddings=True)
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] * 3
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    model = transept.AutoModelForCausalLM.from_pretrained(folder)
    assert torch.equal(model.lm_head.weight, model.model.embed_tokens.weight * 3)
    assert model.config.tie_word_embeddings is False
