"""A packed row gives each example what it gets alone: logits, loss and gradients."""

import pytest
import torch

from transept import DataCollatorWithFlattening, DynamicCache, StaticCache
from transept.errors import InputError

ROWS = [[5, 9, 33, 2], [7, 8, 7, 8, 7, 8, 60], [3], [50, 51, 4]]


@pytest.fixture(params=["eager", "sdpa"])
def llama(request):
    llama = pytest.importorskip("transept_llama.modeling")
    from transept_llama.configuration import LlamaConfig

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
        attn_implementation=request.param,
    )
    return llama.LlamaForCausalLM(config)


def test_logits_are_those_of_each_example_alone(llama):
    batch = DataCollatorWithFlattening()([{"input_ids": row} for row in ROWS])
    labels = batch.pop("labels")
    packed = llama(**batch, use_cache=False).logits[0]
    alone = torch.cat([llama(torch.tensor([row])).logits[0] for row in ROWS])
    torch.testing.assert_close(packed, alone, rtol=1e-4, atol=1e-4)
    leaking = llama(batch["input_ids"], use_cache=False).logits[0]
    assert (leaking - alone).abs().max() > 0.1
    assert (labels != -100).sum() == sum(len(row) - 1 for row in ROWS)


def test_loss_and_gradients_are_those_of_all_predicted_tokens(llama):
    batch = DataCollatorWithFlattening()([{"input_ids": row} for row in ROWS])
    loss = llama(**batch, use_cache=False).loss
    loss.backward()
    packed = [parameter.grad.clone() for parameter in llama.parameters()]
    llama.zero_grad()
    counts = [len(row) - 1 for row in ROWS]
    sums = [
        llama(torch.tensor([row]), labels=torch.tensor([row])).loss * count
        for row, count in zip(ROWS, counts, strict=True)
        if count
    ]
    separate = sum(sums) / sum(counts)
    separate.backward()
    torch.testing.assert_close(loss, separate, rtol=1e-4, atol=1e-4)
    for gradient, parameter in zip(packed, llama.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("cache", ["made", "dynamic", "static"])
def test_a_cache_that_is_filled_sees_each_example_alone(llama, cache):
    batch = DataCollatorWithFlattening()([{"input_ids": row} for row in ROWS])
    batch.pop("labels")
    caches = {"dynamic": DynamicCache, "static": StaticCache}
    given = {"past_key_values": caches[cache](config=llama.config, max_cache_len=32)} if cache == "static" else {}
    given = {"past_key_values": DynamicCache()} if cache == "dynamic" else given
    packed = llama(**batch, **given)
    alone = torch.cat([llama(torch.tensor([row])).logits[0] for row in ROWS])
    torch.testing.assert_close(packed.logits[0], alone, rtol=1e-4, atol=1e-4)
    more = torch.tensor([[9]])
    with pytest.raises(InputError, match="holds several packed documents"):
        llama(more, past_key_values=packed.past_key_values)
    packed.past_key_values.reset()
    again = llama(torch.tensor([ROWS[0]]), past_key_values=packed.past_key_values)
    llama(more, past_key_values=again.past_key_values)


def test_positions_of_one_example_leave_its_cache_as_it_is(llama):
    row = torch.tensor([ROWS[1]])
    first = llama(row, position_ids=torch.arange(row.shape[1])[None])
    last = llama(torch.tensor([[9]]), past_key_values=first.past_key_values, position_ids=torch.tensor([[row.shape[1]]]))
    whole = llama(torch.cat([row, torch.tensor([[9]])], 1)).logits[:, -1:]
    torch.testing.assert_close(last.logits, whole, rtol=1e-4, atol=1e-4)
