"""What generation starts from: the prompt in any form, padding, positions, the encoder's output."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..errors import GenerationError
from .configuration import GenerationConfig, token_ids

__all__ = ["Prompt", "parameters_of", "prepare_prompt", "takes_anything"]


def parameters_of(function: Callable[..., Any]) -> frozenset[str]:
    """Names of its arguments; not those of `*args` and `**kwargs`."""
    parameters = inspect.signature(function).parameters.values()
    return frozenset(p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL))


def takes_anything(function: Callable[..., Any]) -> bool:
    """It has a `**kwargs`."""
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values())


@dataclass
class Prompt:
    """The start of a generation.

    input_ids: LongTensor (batch, length), the decoder's; length 0 where the prompt is only embeddings.
    unseen: positions before the first of `input_ids` that the model has or gets in another form (embeddings, a cache).
    seen: positions, from the very first, that a given cache holds already.
    attention_mask: (batch, unseen + length) or None where nothing is padded.
    source_ids: the encoder's input or the prompt, for processors that compare with it.
    """

    input_ids: Tensor
    unseen: int = 0
    seen: int = 0
    attention_mask: Tensor | None = None
    position_ids: Tensor | None = None
    inputs_embeds: Tensor | None = None
    source_ids: Tensor | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    """What else goes to the model at each step."""


def prepare_prompt(model: Any, inputs: Any, kwargs: dict[str, Any], config: GenerationConfig) -> Prompt:
    """From what the user gave to what the loop needs. `kwargs` are those for the model; they are taken apart.

    Raises `GenerationError` for a prompt that is no token ids (batch, length), is padded on the right, is empty without a
    token to start from, or does not fit the cache that was given.
    """
    if model.config.is_encoder_decoder:
        return _encoder_decoder_prompt(model, inputs, kwargs, config)
    embeds, cache = kwargs.pop("inputs_embeds", None), kwargs.get("past_key_values")
    ids, mask = _the_one(inputs, kwargs, "input_ids"), kwargs.pop("attention_mask", None)
    batch = next((value.shape[0] for value in (embeds, mask) if value is not None), 1)
    if ids is None and embeds is not None:
        ids = torch.empty((batch, 0), dtype=torch.long)
    elif ids is None or (isinstance(ids, Tensor) and ids.dim() == 2 and ids.shape[1] == 0 and embeds is None):
        ids = _start(config.bos_token_id, batch if ids is None else ids.shape[0])
        mask = torch.ones_like(ids)
    ids = _checked(ids, "input_ids").to(model.device)
    prompt = Prompt(ids, inputs_embeds=embeds, position_ids=kwargs.pop("position_ids", None), extra=kwargs)
    prompt.source_ids = ids if ids.shape[1] else None
    if embeds is not None:
        if config.use_cache is False or config.prefill_chunk_size:
            raise GenerationError("A prompt of `inputs_embeds` needs `use_cache=True` and no `prefill_chunk_size`.")
        prompt.unseen = embeds.shape[1] - ids.shape[1]
    if cache is not None:
        _continue_cache(prompt, cache, mask)
    prompt.attention_mask = _padding(prompt, mask, config, model)
    return prompt


def _the_one(inputs: Any, kwargs: dict[str, Any], name: str) -> Any:
    named = kwargs.pop(name, None)
    if inputs is not None and named is not None:
        raise GenerationError(f"The prompt was given twice, as `inputs` and as `{name}`. Leave one of the two out.")
    return named if inputs is None else inputs


def _checked(ids: Any, name: str) -> Tensor:
    if isinstance(ids, Mapping):
        raise GenerationError(f"`{name}` is what a tokenizer returned as a whole. Unpack it: `model.generate(**encoded)`.")
    if not isinstance(ids, Tensor):
        raise GenerationError(f"`{name}` is a {type(ids).__name__} and no tensor. Tokenize with `return_tensors='pt'`.")
    if ids.dim() != 2 or ids.dtype.is_floating_point or ids.dtype == torch.bool:
        text = f"`{name}` has to be token ids of shape (batch, length), and is {ids.dtype} of shape {tuple(ids.shape)}."
        raise GenerationError(f"{text} For one sequence add a dimension: `ids[None]`.")
    return ids.long()


def _start(token: Any, batch: int, name: str = "bos_token_id") -> Tensor:
    ids = token_ids(token)
    if not ids:
        raise GenerationError(f"The prompt is empty, and no `{name}` is known to start from. Give a prompt, or set `{name}`.")
    if len(ids) not in (1, batch):
        raise GenerationError(f"`{name}` has {len(ids)} ids for a batch of {batch}. Give one, or one a row.")
    return torch.tensor(ids).expand(batch)[:, None]


def _continue_cache(prompt: Prompt, cache: Any, mask: Tensor | None) -> None:
    """Find out whether `input_ids` repeat what the cache holds: they do when a mask is as long as they are, or is absent."""
    past = cache.get_seq_length()
    length = prompt.unseen + prompt.input_ids.shape[1]
    prompt.seen = past
    if past and mask is not None and mask.shape[1] == past + length and prompt.inputs_embeds is None:
        prompt.unseen = past
    elif past >= length:
        hint = (
            "Pass the whole sequence, or the new tokens with an `attention_mask` over cached and new ones, or crop the cache."
        )
        raise GenerationError(
            f"`past_key_values` hold {past} tokens, and the prompt has {length}: nothing is left to run. {hint}"
        )


def _inferred_mask(ids: Tensor, config: GenerationConfig, model: Any) -> Tensor | None:
    """Zero where `ids` are padding; None where nothing is, or where it cannot be told."""
    pad = config.pad_token_id
    if pad is None or "attention_mask" not in parameters_of(model.forward):
        return None
    padded = ids == pad
    if pad not in token_ids(config.eos_token_id):
        return (~padded).long() if bool(padded.any()) else None
    if ids.shape[0] > 1 and bool(padded[:, :1].any()):
        text = f"padding cannot be told from the end: `pad_token_id` {pad} is among `eos_token_id`. Pass the mask."
        warnings.warn(f"No `attention_mask` was given, and {text}", UserWarning, stacklevel=5)
    return None


def _padding(prompt: Prompt, given: Tensor | None, config: GenerationConfig, model: Any) -> Tensor | None:
    ids, mask = prompt.input_ids, given
    if mask is None and prompt.inputs_embeds is None and not prompt.unseen:
        mask = _inferred_mask(ids, config, model)
    if mask is None:
        return None
    shape = (ids.shape[0], prompt.unseen + ids.shape[1])
    if mask.shape != shape:
        text = f"`attention_mask` has shape {tuple(mask.shape)}, and the prompt needs {shape}."
        raise GenerationError(f"{text} Pass the mask that the tokenizer returned with these ids.")
    mask = mask.to(ids.device)
    if bool((mask[:, -1] == 0).any()):
        hint = " If these are no padding, pass an `attention_mask` of ones." if given is None else ""
        text = "The prompt is padded on the right, so the model would go on from padding."
        raise GenerationError(f"{text} Pad on the left: `tokenizer.padding_side = 'left'`.{hint}")
    return None if bool((mask != 0).all()) else mask.long()


def _encoder_decoder_prompt(model: Any, inputs: Any, kwargs: dict[str, Any], config: GenerationConfig) -> Prompt:
    encoder = model.get_encoder()
    name = getattr(encoder, "main_input_name", model.main_input_name)
    outputs = kwargs.pop("encoder_outputs", None)
    given_ids = kwargs.pop("decoder_input_ids", None)
    if name != "input_ids" and given_ids is None:
        given_ids = kwargs.pop("input_ids", None)
    source = _the_one(inputs, kwargs, name)
    ids_given = isinstance(source, Tensor) and source.dim() == 2 and not source.dtype.is_floating_point
    if outputs is None:
        if source is None and kwargs.get("inputs_embeds") is None:
            raise GenerationError(f"The encoder needs an input: pass `{name}`, `inputs_embeds` or `encoder_outputs`.")
        if ids_given and kwargs.get("attention_mask") is None and (mask := _inferred_mask(source, config, model)) is not None:
            kwargs["attention_mask"] = mask
        outputs = _encode(encoder, name, source, kwargs, config)
    kwargs.pop("inputs_embeds", None)
    kwargs["encoder_outputs"], batch = outputs, outputs[0].shape[0]
    missing = config.decoder_start_token_id is None
    start = _start(config.bos_token_id if missing else config.decoder_start_token_id, batch, "decoder_start_token_id")
    start, mask = start.to(model.device), kwargs.pop("decoder_attention_mask", None)
    ids = start
    if given_ids is not None:
        ids = _checked(given_ids, "decoder_input_ids").to(model.device)
        if bool((ids[:, 0] != start[:, 0]).all()):
            ids = torch.cat((start, ids), 1)
            mask = None if mask is None else torch.cat((torch.ones_like(mask[:, :1]), mask), 1)
    prompt = Prompt(ids, attention_mask=mask, position_ids=kwargs.pop("decoder_position_ids", None), extra=kwargs)
    prompt.source_ids = source.to(model.device) if ids_given else None
    if (cache := kwargs.get("past_key_values")) is not None:
        _continue_cache(prompt, cache, mask)
    return prompt


def _encode(encoder: Any, name: str, source: Any, kwargs: dict[str, Any], config: GenerationConfig) -> Any:
    takes = parameters_of(encoder.forward)
    arguments = {key: value for key, value in kwargs.items() if key in takes and key != "past_key_values"}
    arguments |= {} if source is None else {name: source}
    arguments |= {flag: True for flag in ("output_attentions", "output_hidden_states") if getattr(config, flag)}
    return encoder(**arguments, return_dict=True)
