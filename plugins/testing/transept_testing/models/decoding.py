"""What the checks of decoders and of encoder–decoders share: caches, steps, and text that is generated the same way each time."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from transept.cache import DynamicCache, EncoderDecoderCache
from transept.discovery import load_object, registry

from ..comparing import assert_to_scale

__all__ = ["NEW_TOKENS", "assert_same_text", "generate", "make_cache", "steps"]

NEW_TOKENS = 8


def make_cache(model: Any, kind: str, length: int, batch: int) -> Any:
    """An empty cache of an installed kind with room for `length` tokens."""
    record = registry.get("caches", kind)
    config = model.config.get_text_config(decoder=True)
    cache = load_object(record.cache, owner=kind)(
        config, max_cache_len=length, batch_size=batch, device=model.device, dtype=model.dtype
    )
    return EncoderDecoderCache(cache, DynamicCache(config)) if model.config.is_encoder_decoder else cache


def steps(model: Any, ids: Tensor, sizes: Sequence[int], cache: Any, name: str = "input_ids", **arguments: Any) -> Tensor:
    """Logits (batch, seq, vocab) of ids that are fed in pieces of these sizes; a mask of them is fed as far as they are."""
    logits, start = [], 0
    mask = arguments.pop("attention_mask", None) if name == "input_ids" else None
    types = arguments.pop("token_type_ids", None)
    for size in sizes:
        stop = start + size
        part = dict(arguments)
        if mask is not None:
            part["attention_mask"] = mask[:, :stop]
        if types is not None:
            part["token_type_ids"] = types[:, start:stop]
        output = model(**{name: ids[:, start:stop]}, **part, past_key_values=cache, use_cache=True)
        assert output.past_key_values is cache, (
            "the output does not hold the cache that was given: extend it in place, return it"
        )
        logits.append(output.logits)
        start = stop
        assert cache.get_seq_length() == stop, f"after {stop} tokens the cache holds {cache.get_seq_length()}"
    return torch.cat(logits, dim=1)


def generate(model: Any, inputs: Mapping[str, Any], **arguments: Any) -> Any:
    """Greedy, with scores, up to the length that is asked for whatever the model says."""
    before = model.generation_config.eos_token_id
    model.generation_config.eos_token_id = None
    arguments = {"max_new_tokens": NEW_TOKENS, "pad_token_id": 0, **arguments}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of lengths and padding, which are not what is tested here
            return model.generate(**inputs, do_sample=False, output_scores=True, return_dict_in_generate=True, **arguments)
    finally:
        model.generation_config.eos_token_id = before


def assert_same_text(found: Any, expected: Any, tolerance: float, what: str, row: int | None = None) -> None:
    """The same new tokens, from equal scores at each step; `row` picks one of `found` to stand beside a single sequence."""
    assert len(found.scores) == len(expected.scores), f"{what}: {len(found.scores)} tokens in place of {len(expected.scores)}"
    rows = slice(None) if row is None else slice(row, row + 1)
    for step, (ours, theirs) in enumerate(zip(found.scores, expected.scores, strict=True)):
        assert_to_scale(ours[rows], theirs, tolerance, f"{what}, scores of step {step}")
    count = len(expected.scores)
    new, wanted = found.sequences[rows, -count:], expected.sequences[:, -count:]
    assert torch.equal(new, wanted), f"{what}: tokens {new.tolist()} in place of {wanted.tolist()}"
