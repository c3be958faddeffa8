"""The session: what a decoding strategy works with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..cache import Cache, DynamicCache, StaticCache
from ..discovery import registry
from ..errors import GenerationError
from ..outputs import (
    GenerateBeamDecoderOnlyOutput,
    GenerateBeamEncoderDecoderOutput,
    GenerateDecoderOnlyOutput,
    GenerateEncoderDecoderOutput,
)
from .configuration import GenerationConfig, token_ids
from .inputs import Prompt, parameters_of, takes_anything
from .stopping import MaxLengthCriteria, MaxTimeCriteria, StoppingCriteriaList

__all__ = ["GenerationSession"]


class _Columns:
    """A tensor that grows along its last dimension in large steps; what it started with is never written on."""

    def __init__(self, start: Tensor, fill: int | None) -> None:
        self.data = start
        self.fill = fill
        """Value of columns to come; None: as the last one."""

    def upto(self, width: int) -> Tensor:
        have = self.data.shape[-1]
        if width > have:
            shape = (*self.data.shape[:-1], max(width - have, have, 256))
            tail = self.data[..., -1:].expand(shape) if self.fill is None else self.data.new_full(shape, self.fill)
            self.data = torch.cat((self.data, tail), -1)
        return self.data[..., :width]


class GenerationSession:
    """A generation in progress. A strategy calls `forward`, `process`, `append` until `finished`, and returns `result()`.

    A strategy that tries tokens gives them to `forward`, appends those that it accepts, and calls `crop` before the next.

    Attributes:
        model: runs through `model.prepare_inputs_for_generation` (looked up at each step) and `model(...)`.
        config: the effective `GenerationConfig`; None only where nothing has a default.
        processors: `LogitsProcessorList`, applied by `process`.
        stopping: `StoppingCriteriaList`, asked by `append`.
        generator: `torch.Generator` for whatever is random, or None.
        tokenizer, streamer: the user's, or None.
        cache: the key/value cache, or None without one. It may become another object at the first forward.
        arguments: the strategy's own arguments (`DecodingSpec.arguments`), `assistant_model` among them.
        max_length: tokens in `input_ids` at which generation ends.
        source_ids: what `encoder_…` processors compare with: the encoder's input or the prompt, LongTensor (prompts, length).
        rows_per_prompt: rows of `input_ids` that go on from one prompt.
        unfinished: BoolTensor (batch,).
    """

    def __init__(
        self,
        model: Any,
        prompt: Prompt,
        config: GenerationConfig,
        generator: Any,
        tokenizer: Any,
        streamer: Any,
        own: dict[str, Any],
    ) -> None:
        self.model, self.config, self.generator, self.tokenizer, self.streamer = model, config, generator, tokenizer, streamer
        self.arguments = own
        self.processors: Any = None
        self.stopping = StoppingCriteriaList()
        self.max_length, self.rows_per_prompt, self.source_ids = 0, 1, prompt.source_ids
        self.prompt_length = self.length = prompt.input_ids.shape[1]
        self.steps = 0
        self.cache = prompt.extra.pop("past_key_values", None)
        self._named = parameters_of(model.forward)
        self.uses_cache = bool(config.use_cache) and "past_key_values" in self._named
        self.unfinished = torch.ones(prompt.input_ids.shape[0], dtype=torch.bool, device=prompt.input_ids.device)
        self._done = False
        self._seen, self._unseen = prompt.seen, prompt.unseen
        self._ids = _Columns(prompt.input_ids, 0)
        self._mask = None if prompt.attention_mask is None else _Columns(prompt.attention_mask, 1)
        self._embeds = prompt.inputs_embeds
        self._positions = prompt.position_ids
        self._types = {name: _Columns(prompt.extra.pop(name), None) for name in _TYPES if prompt.extra.get(name) is not None}
        self._prefix = "decoder_" if model.config.is_encoder_decoder else ""
        self._constant = self._constant_arguments(prompt.extra)
        pad = next((i for i in (*token_ids(config.pad_token_id), *token_ids(config.eos_token_id)) if i >= 0), None)
        self._pad = None if pad is None else torch.tensor(pad, device=prompt.input_ids.device)
        kept = ("scores", "logits", "attentions", "hidden_states") if config.return_dict_in_generate else ()
        self._records: dict[str, list[Any]] = {name: [] for name in kept if getattr(config, f"output_{name}")}
        if "attentions" in self._records and self._prefix:
            self._records["cross_attentions"] = []
        counts = getattr(model, "counts_positions", False) or f"{self._prefix}position_ids" not in self._named
        if self._positions is None and self._mask is not None and not counts:
            self._positions = (self._mask.data.cumsum(-1) - 1).clamp(min=0)

    def _constant_arguments(self, extra: dict[str, Any]) -> dict[str, Any]:
        options: dict[str, Any] = {"use_cache": self.uses_cache}
        options |= {flag: True for flag in ("output_attentions", "output_hidden_states") if getattr(self.config, flag)}
        anything = takes_anything(self.model.forward)
        self._forward_options = {"return_dict": True} if anything or "return_dict" in self._named else {}
        return {name: value for name, value in options.items() if anything or name in self._named} | extra

    @property
    def input_ids(self) -> Tensor:
        """All tokens so far, LongTensor (batch, length). A view of storage that is written on: copy what is to be kept."""
        return self._ids.upto(self.length)

    @property
    def finished(self) -> bool:
        return self._done or self.length >= self.max_length

    def forward(self, tokens: Tensor | None = None) -> Tensor:
        """Run the model over what its cache does not hold yet, and over `tokens`, LongTensor (batch, n), without appending them.

        Returns:
            float32 logits (batch, n + 1, vocab): after the last of `input_ids`, and after each token that is tried.
        """
        fresh = self.steps == 0 and self.length == self.prompt_length and not self._seen and tokens is None
        cache = getattr(self.cache, "self_attention_cache", self.cache)
        if fresh and self.rows_per_prompt > 1 and type(cache) in (DynamicCache, StaticCache):  # kinds that can repeat rows
            return self._forward_once_a_prompt()
        ids = self.input_ids if tokens is None else torch.cat((self.input_ids, tokens), 1)
        keep = 1 if tokens is None else tokens.shape[1] + 1
        end = self._unseen + ids.shape[1]
        chunk = self.config.prefill_chunk_size
        if chunk and self.steps == 0 and self.uses_cache:
            while end - self._seen >= chunk + keep:
                self._run(ids[:, : self._seen + chunk - self._unseen], self._seen + chunk, 1)
        outputs = self._run(ids, end, keep)
        logits: Tensor = outputs.logits
        for name in ("attentions", "cross_attentions", "hidden_states"):
            if name in self._records:
                prefix = "" if name == "cross_attentions" else self._prefix
                self._records[name].append(getattr(outputs, f"{prefix}{name}", None))
        self.steps += 1
        registry.notify("generation_step", model=self.model, step=self.steps)
        if logits.shape[1] > keep:  # a copy, so that a long prompt's logits can be freed
            logits = logits[:, -keep:].clone()
        return logits.float()

    def _forward_once_a_prompt(self) -> Tensor:
        """The first forward: rows of one prompt are still the same, so one of them is run."""
        times, self.rows_per_prompt = self.rows_per_prompt, 1
        self._change_rows(lambda rows: rows[::times])
        logits = self.forward()
        self.expand(times)
        for name in self._records.keys() & {"attentions", "cross_attentions", "hidden_states"}:
            self._records[name] = _each_tensor(self._records[name], lambda rows: rows.repeat_interleave(times, 0))
        return logits.repeat_interleave(times, 0)

    def _run(self, ids: Tensor, end: int, keep: int) -> Any:
        count = end - self._seen
        if count <= 0:
            raise GenerationError("The model has seen every token. Append one, or crop the session, before `forward`.")
        inputs = dict(self._constant)
        if "logits_to_keep" in self._named:
            inputs["logits_to_keep"] = keep
        if self._mask is not None:
            inputs[f"{self._prefix}attention_mask"] = self._mask.upto(end)
        if self._positions is not None:
            inputs[f"{self._prefix}position_ids"] = self._positions_of(end - count if self.uses_cache else 0, end)
        for name, columns in self._types.items():
            inputs[name] = columns.upto(end)
        prepared = self.model.prepare_inputs_for_generation(
            ids,
            next_sequence_length=count if self.uses_cache else None,
            past_key_values=self.cache if self._seen else None,  # prompt learning puts its own in place of none
            inputs_embeds=self._embeds,
            is_first_iteration=self.steps == 0,
            **inputs,
        )
        if self.cache is not None and prepared.get("past_key_values") is None:
            prepared["past_key_values"] = self.cache
        outputs = self.model(**prepared, **self._forward_options)
        if self.uses_cache:
            self._seen = end
            cache = getattr(outputs, "past_key_values", None)
            self.cache = self.cache if cache is None else cache
        return outputs

    def _positions_of(self, begin: int, end: int) -> Tensor:
        """Positions from `begin` to `end`: the prompt's as they are, then each one more than the one before."""
        positions: Tensor = self._positions  # type: ignore[assignment]
        prompt = self._unseen + self.prompt_length
        start = prompt - positions.shape[-1]
        earlier = positions[..., max(begin - start, 0) : end - start]
        if end <= prompt:
            return earlier
        later = positions[..., -1:] + torch.arange(max(begin - prompt, 0) + 1, end - prompt + 1, device=positions.device)
        return later if begin >= prompt else torch.cat((earlier, later), -1)

    def process(self, logits: Tensor, raw: Tensor | None = None) -> Tensor:
        """Scores (batch, vocab) from float32 logits (batch, vocab) after `input_ids`; kept for the result where it was asked for.

        `raw` is what the result holds as logits, where the processors get something else.
        """
        scores: Tensor = self.processors(self.input_ids, logits)
        for name, value in (("logits", logits if raw is None else raw), ("scores", scores)):
            if name in self._records:
                self._records[name].append(value)
        return scores

    def append(self, tokens: Tensor) -> None:
        """Add one token a row, LongTensor (batch,); a finished row gets padding. Streams, and asks the stopping criteria."""
        if self._pad is not None and tokens.shape[0] > 1:
            tokens = torch.where(self.unfinished, tokens, self._pad)
        self.extend(tokens)
        ids = self.input_ids
        if self.streamer is not None:
            self.streamer.put(tokens.cpu())
        asked = False
        for criterion in self.stopping:
            if type(criterion) in (MaxLengthCriteria, MaxTimeCriteria):  # known on the host, for all rows at once
                self._done |= criterion.reached(self.length)
            else:
                asked = True
                stop = torch.as_tensor(criterion(ids, self._records.get("scores")), dtype=torch.bool, device=ids.device)
                self.unfinished = self.unfinished & ~stop
        if asked and not self._done:
            self._done = not bool(self.unfinished.any())

    def extend(self, tokens: Tensor) -> None:
        """Add one token a row as it is, LongTensor (batch,), for a strategy that finds out itself which rows have enough."""
        self.length += 1
        self.input_ids[:, -1] = tokens

    def stops(self, ids: Tensor) -> Tensor:
        """What the stopping criteria say of sequences that are only tried, LongTensor (n, length): BoolTensor (n,)."""
        return self.stopping(ids, self._records.get("scores"))

    def crop(self, length: int) -> None:
        """Let the model forget what it saw past the first `length` tokens of `input_ids`."""
        excess = self._seen - self._unseen - length
        if excess > 0 and self.cache is not None:
            self.cache.crop(-excess)
            self._seen -= excess

    def expand(self, times: int) -> None:
        """Repeat each row, before the first forward: (a, b) becomes (a, a, b, b)."""
        if times > 1:
            self.rows_per_prompt *= times
            self._change_rows(lambda rows: rows.repeat_interleave(times, 0))
            if self._seen and self.cache is not None:
                self.cache.batch_repeat_interleave(times)

    def _change_rows(self, change: Callable[[Tensor], Tensor]) -> None:
        for columns in (self._ids, self._mask, *self._types.values()):
            if columns is not None:
                columns.data = change(columns.data)
        self._constant = {name: _each_tensor(value, change) for name, value in self._constant.items()}
        self._embeds, self.unfinished = _each_tensor(self._embeds, change), change(self.unfinished)
        if self._positions is not None:  # (batch, length), or several kinds of them: (kinds, batch, length)
            self._positions = change(self._positions.transpose(0, -2)).transpose(0, -2)

    def reorder(self, rows: Tensor) -> None:
        """Row i goes on from what row `rows[i]` has so far, LongTensor (batch,). Both belong to the same prompt."""
        self._ids.data = self._ids.data.index_select(0, rows)
        self.unfinished = self.unfinished.index_select(0, rows)
        if self.cache is not None:  # what a decoder keeps of the encoder is the same for all rows of a prompt
            cache = getattr(self.cache, "self_attention_cache", self.cache)
            knows = self.rows_per_prompt > 1 and getattr(type(cache), "reorder_cache", None) is Cache.reorder_cache
            cache.reorder_cache(rows, *[self._unseen + self.prompt_length] * knows)

    def padding(self) -> Tensor | None:
        """Left padding of each row, LongTensor (batch,); None where nothing is padded."""
        if self._mask is None or self.prompt_length == 0:
            return None
        return (self._mask.data[:, self._unseen :] != 0).int().argmax(1)

    def result(self, **fields: Any) -> Any:
        """What `generate` returns: LongTensor (batch, length), or an output object with `return_dict_in_generate`.

        `fields` are more fields of the output object, or others in the place of those that were kept; with `beam_indices`
        it is a beam search's.
        """
        if self.streamer is not None:
            self.streamer.end()
        if "sequences" not in fields:
            fields["sequences"] = self.input_ids.clone(memory_format=torch.contiguous_format)
        if not self.config.return_dict_in_generate:
            return fields["sequences"]
        kept: dict[str, Any] = {name: tuple(values) for name, values in self._records.items()}
        kept |= {"past_key_values": self.cache, **fields}
        if not self._prefix:
            return (GenerateBeamDecoderOnlyOutput if "beam_indices" in kept else GenerateDecoderOnlyOutput)(**kept)
        kept |= {f"decoder_{name}": kept.pop(name) for name in ("attentions", "hidden_states") if name in kept}
        for name in ("attentions", "hidden_states"):
            if getattr(self.config, f"output_{name}"):
                kept[f"encoder_{name}"] = getattr(self._constant["encoder_outputs"], name, None)
        return (GenerateBeamEncoderDecoderOutput if "beam_indices" in kept else GenerateEncoderDecoderOutput)(**kept)


def _each_tensor(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The value with all tensors in it changed that have rows: in lists and tuples; of an encoder's output what attention reads."""
    if isinstance(value, Tensor) and value.dim():
        return change(value)
    if isinstance(value, dict) and "last_hidden_state" in value:
        return type(value)({key: change(item) if isinstance(item, Tensor) else item for key, item in value.items()})
    return type(value)(_each_tensor(item, change) for item in value) if type(value) in (list, tuple) else value


_TYPES = ("token_type_ids", "mm_token_type_ids")
"""Inputs with one column a token, which go on with their last value."""
