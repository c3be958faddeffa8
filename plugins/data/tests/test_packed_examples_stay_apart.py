"""A packed row gives each example what it gets alone: logits, loss and gradients."""

import pytest
import torch

from transept import DataCollatorWithFlattening

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
