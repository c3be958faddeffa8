"""However a text is decoded (with a cache or without, alone or in a batch, padded or not, by any kernel), it is the same text."""

from __future__ import annotations

import pytest
import torch

import transept

ROPES = [None, {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}]


@pytest.fixture(params=["eager", "sdpa"])
def model(request, peer_llama):
    return transept.AutoModelForCausalLM.from_pretrained(peer_llama(eos_token_id=None), attn_implementation=request.param)


def prompts() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    return [torch.randint(1, 131, (1, length), generator=generator) for length in (9, 5, 1, 12)]


def generate(model, ids: torch.Tensor, **arguments):
    mask = arguments.pop("attention_mask", torch.ones_like(ids))
    return model.generate(
        ids,
        attention_mask=mask,
        max_new_tokens=12,
        do_sample=False,
        output_scores=True,
        return_dict_in_generate=True,
        pad_token_id=0,
        **arguments,
    )


def left_padded(rows: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(row.shape[1] for row in rows)
    ids = torch.cat([torch.nn.functional.pad(row, (width - row.shape[1], 0)) for row in rows])
    mask = torch.cat([torch.nn.functional.pad(torch.ones_like(row), (width - row.shape[1], 0)) for row in rows])
    return ids, mask


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_cached_equals_uncached_at_every_step(model, cache: str) -> None:
    for ids in prompts():
        plain = generate(model, ids, use_cache=False)
        cached = generate(model, ids, cache_implementation=cache)
        assert torch.equal(plain.sequences, cached.sequences)
        for a, b in zip(plain.scores, cached.scores, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_a_left_padded_batch_equals_each_prompt_alone(model, cache: str) -> None:
    rows = prompts()
    ids, mask = left_padded(rows)
    together = generate(model, ids, attention_mask=mask, cache_implementation=cache)
    for index, row in enumerate(rows):
        alone = generate(model, row, cache_implementation=cache)
        assert torch.equal(together.sequences[index, ids.shape[1] :], alone.sequences[0, row.shape[1] :])
        for a, b in zip(together.scores, alone.scores, strict=True):
            torch.testing.assert_close(a[index], b[0], rtol=1e-4, atol=1e-4)


def test_an_equal_length_batch_equals_each_prompt_alone(model) -> None:
    ids = torch.randint(1, 131, (3, 8), generator=torch.Generator().manual_seed(6))
    together = generate(model, ids)
    for index in range(3):
        assert torch.equal(together.sequences[index], generate(model, ids[index : index + 1]).sequences[0])


def test_a_prompt_fed_in_pieces_equals_the_prompt_fed_at_once(model) -> None:
    ids = torch.randint(1, 131, (2, 11), generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        whole = model(ids).logits
        cache = None
        pieces = []
        for start, stop in ((0, 4), (4, 5), (5, 9), (9, 11)):
            out = model(ids[:, start:stop], past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            pieces.append(out.logits)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=1e-4, atol=1e-4)


def test_kernels_agree_on_holes_in_the_mask(peer_llama) -> None:
    folder = peer_llama()
    ids = torch.randint(1, 131, (2, 10), generator=torch.Generator().manual_seed(8))
    mask = torch.tensor([[0, 0, 1, 1, 0, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0, 1, 1, 0, 1]])
    results = []
    for kernel in ("eager", "sdpa"):
        model = transept.AutoModelForCausalLM.from_pretrained(folder, attn_implementation=kernel)
        with torch.no_grad():
            results.append(model(ids, attention_mask=mask).logits[mask.bool()])
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-4)


def test_dynamic_rope_past_its_length_is_the_peers(peer_llama) -> None:
    import transformers

    folder = peer_llama(rope_parameters=ROPES[1], max_position_embeddings=16, eos_token_id=None)
    ours = transept.AutoModelForCausalLM.from_pretrained(folder)
    peer = transformers.AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.randint(1, 131, (1, 40), generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        torch.testing.assert_close(ours(ids).logits, peer(ids).logits, rtol=1e-4, atol=1e-4)


def test_generating_while_a_model_trains_with_checkpointing_gives_the_same_text(model) -> None:
    """Nothing is recomputed where there is no backward pass, so the cache serves as ever."""
    ids = prompts()[0]
    want = generate(model, ids).sequences
    model.train()
    model.gradient_checkpointing_enable()
    assert torch.equal(generate(model, ids).sequences, want)
