"""Language models that onnxruntime runs, under transept's own generation loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from transept import DynamicCache, EncoderDecoderCache, GenerationConfig
from transept.errors import InputError
from transept.generation import GenerationMixin
from transept.outputs import BaseModelOutput, CausalLMOutputWithPast, Seq2SeqLMOutput

from .graphs import DECODER, DECODER_WITH_PAST, ENCODER, MODEL
from .runners import ORTModel
from .session import Session

__all__ = ["ORTEncoder", "ORTModelForCausalLM", "ORTModelForSeq2SeqLM"]


class _Generating(ORTModel, GenerationMixin):
    """Settings of `generate`, and the class of cache that a graph's keys and values go into."""

    def __init__(self, config: Any, sessions: Mapping[str, Session], name_or_path: str = "") -> None:
        super().__init__(config, sessions, name_or_path)
        self.generation_config = GenerationConfig.from_model_config(config)
        if not self.keeps_keys:
            self.generation_config.use_cache = False

    def _finish(self, location: Any) -> None:
        if location.fetch("generation_config.json") is not None:
            self.generation_config = GenerationConfig.from_pretrained(location)
        if not self.keeps_keys:
            self.generation_config.use_cache = False

    def save_pretrained(self, save_directory: Any) -> None:
        super().save_pretrained(save_directory)
        self.generation_config.save_pretrained(save_directory)

    @property
    def keeps_keys(self) -> bool:
        """Its graphs take keys and values of the tokens before."""
        raise NotImplementedError

    def _check_cache(self, cache: Any, use_cache: bool | None) -> None:
        if (cache is not None or use_cache) and not self.keeps_keys:
            raise InputError(
                f"`{self.name_or_path}` was exported without a cache: pass `use_cache=False`, or export it with one."
            )
        own = getattr(cache, "self_attention_cache", cache)
        # layers that slide have dropped keys, once there are any
        drops = own is not None and own.get_seq_length() and any(layer.is_sliding for layer in getattr(own, "layers", ()))
        if own is None or (type(own) is DynamicCache and not drops):
            return
        raise InputError(
            f"`{type(own).__name__}` cannot be filled by an ONNX graph, which gives all keys anew: leave `cache_implementation` and "
            "`past_key_values` out, or pass a `DynamicCache` that this model made."
        )


class ORTModelForCausalLM(_Generating):
    """A decoder with a language-model head: `generate` with all that the loop of transept has."""

    task: ClassVar[str] = "causal_lm"
    output_class = CausalLMOutputWithPast

    @property
    def keeps_keys(self) -> bool:
        return "past_key_values.0.key" in self.sessions[MODEL].inputs

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        *,
        return_dict: bool | None = None,
    ) -> Any:
        """Logits (batch, seq, vocab_size), and the cache with these tokens.

        Args:
            input_ids: LongTensor (batch, seq).
            attention_mask: (batch, past + seq), 0 at padding.
            position_ids: (batch or 1, seq); None: counted from each row's first token.
            past_key_values: a `DynamicCache` that this model gave back; a new one comes out.
            use_cache: give a cache back; None: where the graph has one.

        Raises:
            InputError: a cache of another kind, or one for a graph that has none.
        """
        self._check_cache(past_key_values, use_cache)
        session, batch, length = self.sessions[MODEL], *input_ids.shape
        past = 0 if past_key_values is None else past_key_values.get_seq_length()
        mask = torch.ones(batch, past + length, dtype=torch.long) if attention_mask is None else attention_mask
        given: dict[str, Tensor | None] = {"input_ids": input_ids, "attention_mask": mask}
        if "position_ids" in session.inputs:
            positions = (mask.long().cumsum(-1) - 1).clamp(min=0)[:, past:] if position_ids is None else position_ids
            given["position_ids"] = positions.expand(batch, -1)
        if self.keeps_keys:
            given |= _fed(session, "", past_key_values if past else None, batch, self._empty_shape(batch))
        found = session.run({name: value for name, value in given.items() if value is not None})
        wanted = self.keeps_keys and use_cache is not False
        cache = _cache_of(found, "") if wanted else None
        output = CausalLMOutputWithPast(logits=found["logits"], past_key_values=cache)
        return output if (self.config.return_dict if return_dict is None else return_dict) else output.to_tuple()

    def _empty_shape(self, batch: int) -> tuple[int, int, int, int]:
        """(batch, kv_heads, 0, head_dim): of a cache without tokens."""
        shape = self.sessions[MODEL].shape_of("past_key_values.0.key")
        return batch, int(shape[1]), 0, int(shape[3])


class ORTEncoder:
    """The encoder's graph, in the place of a torch encoder."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.main_input_name = next(name for name in session.inputs if name != "attention_mask")

    @torch.no_grad()
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        return_dict: bool | None = None,
    ) -> BaseModelOutput | tuple[Any, ...]:
        """Hidden states (batch, seq, hidden_size) of `input_ids` (batch, seq)."""
        if input_ids is None:
            raise InputError(f"The encoder needs `{self.main_input_name}`.")
        feeds = {"input_ids": input_ids}
        if "attention_mask" in self.session.inputs:
            feeds["attention_mask"] = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        output = BaseModelOutput(last_hidden_state=self.session.run(feeds)["last_hidden_state"])
        return output.to_tuple() if return_dict is False else output


class ORTModelForSeq2SeqLM(_Generating):
    """An encoder–decoder with a language-model head."""

    task: ClassVar[str] = "seq2seq_lm"
    files = (ENCODER, DECODER, DECODER_WITH_PAST)
    optional = (DECODER_WITH_PAST,)
    output_class = Seq2SeqLMOutput

    @property
    def keeps_keys(self) -> bool:
        return DECODER_WITH_PAST in self.sessions

    def get_encoder(self) -> ORTEncoder:
        return ORTEncoder(self.sessions[ENCODER])

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        *,
        return_dict: bool | None = None,
    ) -> Any:
        """Logits (batch, decoder seq, vocab_size), and the cache with these tokens.

        Args:
            input_ids: LongTensor (batch, seq), the encoder's; or else `encoder_outputs`.
            attention_mask: (batch, seq), 0 where they are padding.
            decoder_input_ids: LongTensor (batch, decoder seq), those that are not in the cache yet.
            encoder_outputs: what the encoder gave, an output or a tuple.
            past_key_values: an `EncoderDecoderCache` that this model gave back; a new one comes out.
            use_cache: give a cache back.

        Raises:
            InputError: an input is missing, or the cache is of another kind.
        """
        self._check_cache(past_key_values, use_cache)
        if decoder_input_ids is None:
            raise InputError(f"`{type(self).__name__}` needs `decoder_input_ids` for its decoder, or call `generate`.")
        if encoder_outputs is None:
            encoder_outputs = self.get_encoder()(input_ids, attention_mask)
        states = encoder_outputs[0]
        mask = torch.ones(states.shape[:2], dtype=torch.long) if attention_mask is None else attention_mask
        past = 0 if past_key_values is None else past_key_values.get_seq_length()
        session = self.sessions[DECODER_WITH_PAST if past else DECODER]
        feeds = {"input_ids": decoder_input_ids, "encoder_hidden_states": states, "encoder_attention_mask": mask}
        if past:
            for part, cache in (
                ("decoder.", past_key_values.self_attention_cache),
                ("encoder.", past_key_values.cross_attention_cache),
            ):
                feeds |= _fed(session, part, cache, 0, ())
        found = session.run({name: feeds[name] for name in session.inputs if name in feeds})
        made = None
        if self.keeps_keys and use_cache is not False:
            cross = past_key_values.cross_attention_cache if past else _cache_of(found, "encoder.")
            made = EncoderDecoderCache(_cache_of(found, "decoder."), cross)
        output = Seq2SeqLMOutput(logits=found["logits"], past_key_values=made, encoder_last_hidden_state=states)
        return output if (self.config.return_dict if return_dict is None else return_dict) else output.to_tuple()


def _fed(session: Session, part: str, cache: Any, batch: int, empty: tuple[int, ...]) -> dict[str, Tensor]:
    """A cache as inputs of a graph; None: tensors without a token."""
    feeds: dict[str, Tensor] = {}
    layers = sum(1 for name in session.inputs if name.startswith("past_key_values.") and name.endswith(f".{part}key"))
    for layer in range(layers):
        names = [f"past_key_values.{layer}.{part}{which}" for which in ("key", "value")]
        pair = [torch.empty(empty, dtype=session.inputs[name]) for name in names] if cache is None else cache[layer]
        feeds |= dict(zip(names, pair, strict=True))
    return feeds


def _cache_of(found: Mapping[str, Tensor], part: str) -> DynamicCache:
    layers = sum(1 for name in found if name.endswith(f".{part}key") and name.startswith("present."))
    return DynamicCache.from_legacy_cache(
        (found[f"present.{layer}.{part}key"], found[f"present.{layer}.{part}value"]) for layer in range(layers)
    )
