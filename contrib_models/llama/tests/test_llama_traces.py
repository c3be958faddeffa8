"""A forward pass is one graph: `torch.compile(fullgraph=True)` and `torch.export` follow it all the way."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@torch.no_grad()
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_compiles_without_a_break(pair, ids, assert_equal_to_scale, implementation):
    model = pair("LlamaForCausalLM").ours
    model.set_attention(implementation)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    mask = torch.ones(2, 11, dtype=torch.long)
    mask[0, :3] = 0
    for arguments in ({"use_cache": False}, {"attention_mask": mask, "use_cache": False}):
        found, expected = compiled(ids(), **arguments).logits, model(ids(), **arguments).logits
        assert_equal_to_scale(found[:, 3:], expected[:, 3:])


@torch.no_grad()
def test_compiles_with_the_cache_it_makes(pair, ids, assert_equal_to_scale):
    model = pair("LlamaForCausalLM").ours
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    first = compiled(ids()[:, :10])
    assert first.past_key_values.get_seq_length() == 10
    step = compiled(ids()[:, 10:], past_key_values=first.past_key_values)
    assert_equal_to_scale(step.logits, model(ids()).logits[:, 10:])


@pytest.mark.slow
def test_compiles_while_training(pair, ids):
    model = pair("LlamaForCausalLM").ours.train()
    arguments = {"labels": ids(), "use_cache": False}
    expected = model(ids(), **arguments).loss
    for checkpointed in (False, True):
        if checkpointed:
            model.gradient_checkpointing_enable()
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        loss = compiled(ids(), **arguments).loss
        loss.backward()
        torch.testing.assert_close(loss, expected)
