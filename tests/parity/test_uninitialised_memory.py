"""A loaded model holds nothing that nobody wrote: fresh memory is filled with NaN, and no NaN comes out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import transept


@pytest.fixture
def poisoned() -> Iterator[None]:
    """Every `torch.empty` and its kin give NaN."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(before)


@pytest.mark.parametrize(
    "head", ["Model", "ForCausalLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering"]
)
def test_loaded_equals_built_in_poisoned_memory(peer_llama, poisoned, head: str) -> None:
    folder = peer_llama(head=head)
    loaded = getattr(transept, f"Llama{head}").from_pretrained(folder)
    built = getattr(transept, f"Llama{head}")(loaded.config).eval()
    built.load_state_dict(loaded.state_dict())
    for name, buffer in loaded.named_buffers():
        assert torch.isfinite(buffer).all(), name
        assert torch.equal(buffer, built.get_buffer(name)), name
    for name, parameter in loaded.named_parameters():
        assert torch.isfinite(parameter).all(), name
    ids = torch.randint(1, 131, (2, 9))
    with torch.no_grad():
        for a, b in zip(loaded(ids).to_tuple(), built(ids).to_tuple(), strict=True):
            if isinstance(a, torch.Tensor):
                assert torch.equal(a, b)


def test_new_heads_are_initialised_in_poisoned_memory(peer_llama, poisoned) -> None:
    model = transept.AutoModelForSequenceClassification.from_pretrained(peer_llama(), num_labels=3)
    assert torch.isfinite(model.score.weight).all()
    assert model.score.weight.std() > 0


def test_generation_touches_no_unwritten_cache(peer_llama, poisoned, tmp_path: Path) -> None:
    model = transept.AutoModelForCausalLM.from_pretrained(peer_llama(eos_token_id=None))
    ids = torch.tensor([[0, 0, 5, 6], [1, 2, 3, 4]])
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    for cache in ("dynamic", "static"):
        out = model.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=20,
            do_sample=False,
            cache_implementation=cache,
            output_scores=True,
            return_dict_in_generate=True,
        )
        assert all(torch.isfinite(score).all() for score in out.scores)
