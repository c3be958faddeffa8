"""What encoder-decoder models share (https://arxiv.org/abs/1706.03762): layers, and the way from one half to the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..attention import MaskSpec
from ..cache import DynamicCache, EncoderDecoderCache
from ..errors import ConfigError, InputError
from ..outputs import BaseModelOutput, ModelOutput, Seq2SeqModelOutput
from .activations import activation
from .attention import AttentionHeads
from .checkpointing import CheckpointedLayer, cache_for
from .masks import check_length, position_ids_from

__all__ = [
    "ClassificationHead",
    "DecoderLayer",
    "EncoderLayer",
    "LearnedPositions",
    "MultiHeadAttention",
    "encode_and_decode",
    "paired_cache_for",
    "shift_tokens_right",
    "states_at_last_end",
    "within_float16",
]


class MultiHeadAttention(AttentionHeads):
    """Attention over the sequence itself, or over an encoder's states.

    Args:
        hidden_size: width of the residual stream; `num_heads` divides it.
        layer_idx: which layer of the cache is this one's; None: it has none.
        key_bias: the projection to keys has a bias, as the others do. It moves all of a query's scores alike, so some leave it out.
        dropout: probability, while training, of dropping an attention weight.
    """

    def __init__(
        self, hidden_size: int, num_heads: int, *, layer_idx: int | None = None, key_bias: bool = True, dropout: float = 0.0
    ) -> None:
        if hidden_size % num_heads:
            raise ConfigError(f"A width of {hidden_size} cannot be cut into {num_heads} heads: the number has to divide it.")
        super().__init__(hidden_size // num_heads, layer_idx=layer_idx, dropout=dropout)
        self.q_proj = nn.Linear(hidden_size, hidden_size)
        self.k_proj = nn.Linear(hidden_size, hidden_size, bias=key_bias)
        self.v_proj = nn.Linear(hidden_size, hidden_size)
        self.out_proj = nn.Linear(hidden_size, hidden_size)

    def forward(
        self,
        hidden_states: Tensor,
        *,
        mask: MaskSpec,
        key_value_states: Tensor | None = None,
        past_key_values: Any = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """(batch, seq, hidden_size) in and out; attention weights (batch, num_heads, seq, keys) beside it, if needed.

        Args:
            key_value_states: the encoder's, (batch, keys, hidden_size), for cross-attention.
        """
        query = self.split_heads(self.q_proj(hidden_states))  # (batch, num_heads, seq, head_dim)
        key, value = self.keys_and_values(self.k_proj, self.v_proj, hidden_states, key_value_states, past_key_values)
        mixed, weights = self.attend(query, key, value, mask=mask, need_weights=need_weights)
        return self.out_proj(mixed), weights


class EncoderLayer(CheckpointedLayer):
    """Self-attention and feed-forward. Each adds to the residual stream what it makes of it: of the normed stream with `pre_norm`
    (https://arxiv.org/abs/2002.04745); without, it is the sum that is normed.

    Args:
        hidden_size, num_heads, intermediate_size: widths of the stream and of the feed-forward block, and how many heads.
        pre_norm: where the norm stands.
        activation_name: of the feed-forward block.
        layer_idx, key_bias, attention_dropout: the attention's, see `MultiHeadAttention`.
        dropout: of what is added to the stream; activation_dropout: inside the feed-forward block.
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        intermediate_size: int,
        *,
        pre_norm: bool,
        activation_name: str,
        layer_idx: int | None = None,
        key_bias: bool = True,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        activation_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.pre_norm = pre_norm
        self.self_attn = MultiHeadAttention(
            hidden_size, num_heads, layer_idx=layer_idx, key_bias=key_bias, dropout=attention_dropout
        )
        self.self_attn_layer_norm = nn.LayerNorm(hidden_size)
        self.activation_fn = activation(activation_name)
        self.fc1 = nn.Linear(hidden_size, intermediate_size)
        self.fc2 = nn.Linear(intermediate_size, hidden_size)
        self.final_layer_norm = nn.LayerNorm(hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.activation_dropout = nn.Dropout(activation_dropout)

    def _read(self, hidden_states: Tensor, norm: nn.Module) -> Tensor:
        return norm(hidden_states) if self.pre_norm else hidden_states

    def _add(self, hidden_states: Tensor, made: Tensor, norm: nn.Module) -> Tensor:
        hidden_states = hidden_states + self.dropout(made)
        return hidden_states if self.pre_norm else norm(hidden_states)

    def _mix(self, hidden_states: Tensor, attend: nn.Module, norm: nn.Module, **asked: Any) -> tuple[Tensor, Tensor | None]:
        mixed, weights = attend(self._read(hidden_states, norm), **asked)
        return self._add(hidden_states, mixed, norm), weights

    def _feed_forward(self, hidden_states: Tensor) -> Tensor:
        inner = self.activation_dropout(self.activation_fn(self.fc1(self._read(hidden_states, self.final_layer_norm))))
        return self._add(hidden_states, self.fc2(inner), self.final_layer_norm)

    def forward(self, hidden_states: Tensor, *, mask: MaskSpec, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        """(batch, seq, hidden_size) in and out; attention weights (batch, num_heads, seq, seq) beside it, if needed."""
        hidden_states, weights = self._mix(
            hidden_states, self.self_attn, self.self_attn_layer_norm, mask=mask, need_weights=need_weights
        )
        return within_float16(self._feed_forward(hidden_states)), weights


class DecoderLayer(EncoderLayer):
    """An encoder layer with attention over an encoder's states between its two parts. Arguments are those of `EncoderLayer`."""

    def __init__(self, hidden_size: int, num_heads: int, intermediate_size: int, **settings: Any) -> None:
        super().__init__(hidden_size, num_heads, intermediate_size, **settings)
        own = self.self_attn
        self.encoder_attn = MultiHeadAttention(
            hidden_size,
            num_heads,
            layer_idx=own.layer_idx,
            key_bias=own.k_proj.bias is not None,
            dropout=own.dropout_probability,
        )
        self.encoder_attn_layer_norm = nn.LayerNorm(hidden_size)

    def forward(  # type: ignore[override]
        self,
        hidden_states: Tensor,
        *,
        mask: MaskSpec,
        encoder_hidden_states: Tensor | None = None,
        cross_mask: MaskSpec | None = None,
        past_key_values: Any = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """(batch, seq, hidden_size) in and out; beside it the weights of self- and cross-attention, where there are any.

        Args:
            encoder_hidden_states: (batch, keys, hidden_size); None: the decoder looks at no encoder.
        """
        asked = {"past_key_values": past_key_values, "need_weights": need_weights}
        cross_weights = None
        hidden_states, weights = self._mix(hidden_states, self.self_attn, self.self_attn_layer_norm, mask=mask, **asked)
        if encoder_hidden_states is not None:
            asked |= {"mask": cross_mask, "key_value_states": encoder_hidden_states}
            hidden_states, cross_weights = self._mix(hidden_states, self.encoder_attn, self.encoder_attn_layer_norm, **asked)
        return self._feed_forward(hidden_states), weights, cross_weights


class LearnedPositions(nn.Embedding):
    """A table of position embeddings, whose first `offset` rows belong to no position."""

    def __init__(self, num_positions: int, embedding_dim: int, *, offset: int = 0) -> None:
        super().__init__(num_positions + offset, embedding_dim)
        self.offset = offset

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | MaskSpec | None = None,
        past_key_values: Any = None,
        position_ids: Tensor | None = None,
    ) -> Tensor:
        """(batch or 1, seq, embedding_dim), for hidden states (batch, seq, …); see `transept.nn.position_ids_from`.

        Raises:
            InputError: a position beyond the table.
        """
        last = self.num_embeddings - self.offset
        if position_ids is None and attention_mask is None:
            check_length(hidden_states, past_key_values, last)
        position_ids = position_ids_from(hidden_states, attention_mask, past_key_values, position_ids)
        try:
            return super().forward(position_ids + self.offset)
        except IndexError as error:
            raise InputError(
                f"`position_ids` go from {int(position_ids.min())} to {int(position_ids.max())}, and the position table is 0 to "
                f"{last - 1}: truncate the sequence."
            ) from error


class ClassificationHead(nn.Module):
    """A dense layer with tanh, and one that gives the labels' logits."""

    def __init__(self, hidden_size: int, num_labels: int, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.out_proj = nn.Linear(hidden_size, num_labels)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(batch, num_labels) from (batch, hidden_size)."""
        return self.out_proj(self.dropout(torch.tanh(self.dense(self.dropout(hidden_states)))))


def encode_and_decode(
    encoder: nn.Module,
    decoder: nn.Module,
    encoder_outputs: Any,
    encoder_inputs: Mapping[str, Any],
    decoder_inputs: Mapping[str, Any],
    **shown: bool | None,
) -> Seq2SeqModelOutput:
    """The hidden states of both halves.

    Args:
        encoder_outputs: what the encoder gave before, an output or a tuple; None: it is run on `encoder_inputs`.
        decoder_inputs: the decoder's arguments, beside the encoder's states.
        shown: `output_attentions` and `output_hidden_states`, for both.
    """
    if encoder_outputs is None:
        encoder_outputs = encoder(**encoder_inputs, **shown, return_dict=True)
    elif isinstance(encoder_outputs, Tensor):
        raise InputError(
            "`encoder_outputs` is a tensor: pass what the encoder returned, or its states in a tuple, `(states,)`."
        )
    elif not isinstance(encoder_outputs, ModelOutput):
        encoder_outputs = BaseModelOutput(*encoder_outputs[:3])
    states = encoder_outputs.last_hidden_state
    decoded = decoder(**decoder_inputs, encoder_hidden_states=states, **shown, return_dict=True)
    return Seq2SeqModelOutput(
        last_hidden_state=decoded.last_hidden_state,
        past_key_values=decoded.past_key_values,
        decoder_hidden_states=decoded.hidden_states,
        decoder_attentions=decoded.attentions,
        cross_attentions=decoded.cross_attentions,
        encoder_last_hidden_state=states,
        encoder_hidden_states=encoder_outputs.hidden_states,
        encoder_attentions=encoder_outputs.attentions,
    )


def paired_cache_for(model: Any, use_cache: bool | None, past_key_values: Any) -> Any:
    """`cache_for`, with room beside it for the keys and values of cross-attention."""
    cache = cache_for(model, use_cache, past_key_values)
    if cache is None or hasattr(cache, "cross_attention_cache"):
        return cache
    return EncoderDecoderCache(cache, DynamicCache())


def shift_tokens_right(input_ids: Tensor, pad_token_id: int | None, decoder_start_token_id: Any) -> Tensor:
    """A decoder's input for labels (batch, seq): the start token and all but the last of them, padding in place of -100.

    Args:
        decoder_start_token_id: one id, or one for each row.

    Raises:
        ConfigError: one of the two ids is None.
    """
    for name, value in (("decoder_start_token_id", decoder_start_token_id), ("pad_token_id", pad_token_id)):
        if value is None:
            raise ConfigError(
                f"`{name}` of the configuration is None: the decoder's input is made with it. Set it.", field=name
            )
    first = torch.as_tensor(decoder_start_token_id, dtype=input_ids.dtype, device=input_ids.device).expand(input_ids.shape[0])
    shifted = torch.cat((first[:, None], input_ids[:, :-1]), dim=1)
    return shifted.masked_fill(shifted == -100, pad_token_id)  # type: ignore[arg-type]


def states_at_last_end(hidden_states: Tensor, input_ids: Tensor, end_ids: Iterable[int]) -> Tensor:
    """(batch, hidden_size) of a decoder's states (batch, seq, hidden_size), at each row's last end-of-sequence token.

    Raises:
        InputError: a row of `input_ids` (batch, seq) has none, or there are more or fewer states than ids.
    """
    if hidden_states.shape[1] != input_ids.shape[1]:
        raise InputError(
            f"The decoder has {hidden_states.shape[1]} tokens, and `input_ids` {input_ids.shape[1]}: its states are read where "
            "those have their end token, so it must have as many."
        )
    is_end = (input_ids[..., None] == torch.tensor(list(end_ids), device=input_ids.device)).any(-1)  # ONNX has no `isin`
    # an accelerator would have to be waited for, and a graph cannot ask
    readable = is_end.device.type == "cpu" and not torch.compiler.is_compiling() and not torch.jit.is_tracing()
    if readable and not bool(is_end.any(dim=1).all()):
        raise InputError(f"A row of `input_ids` has no end-of-sequence token ({end_ids}): its state is what is read.")
    last = (torch.arange(input_ids.shape[1], device=input_ids.device) * is_end).argmax(dim=1)
    return hidden_states[torch.arange(last.shape[0], device=last.device), last.to(hidden_states.device)]


def within_float16(hidden_states: Tensor) -> Tensor:
    """The residual stream of a trained model leaves float16's range now and then: infinities become large numbers."""
    if hidden_states.dtype != torch.float16:
        return hidden_states
    largest = torch.finfo(torch.float16).max
    limit = torch.where(hidden_states.isinf().any(), largest - 1000, largest)
    return hidden_states.clamp(-limit, limit)
