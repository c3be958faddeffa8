"""Blocks that models are assembled from: each is one axis along which architectures differ, named after it."""

from __future__ import annotations

from .activations import ACT2FN, activation
from .attention import AttentionHeads, SelfAttention
from .checkpointing import CheckpointedLayer, cache_for
from .collector import OutputCollector
from .decoder import Decoder, PreNormLayer
from .embeddings import ScaledEmbedding, embed_tokens, look_up
from .encoder_heads import (
    EncoderForMultipleChoice,
    EncoderForQuestionAnswering,
    EncoderForSequenceClassification,
    EncoderForTokenClassification,
    EncoderHead,
)
from .heads import ForCausalLM, ForQuestionAnswering, ForSequenceClassification, ForTokenClassification
from .logits import keep_positions
from .masks import cross_attention_mask, decoder_mask, position_ids_from
from .mlp import GatedMLP
from .norms import RMSNorm
from .rope import RotaryEmbedding, apply_rotary

__all__ = [
    "ACT2FN",
    "AttentionHeads",
    "CheckpointedLayer",
    "Decoder",
    "EncoderForMultipleChoice",
    "EncoderForQuestionAnswering",
    "EncoderForSequenceClassification",
    "EncoderForTokenClassification",
    "EncoderHead",
    "ForCausalLM",
    "ForQuestionAnswering",
    "ForSequenceClassification",
    "ForTokenClassification",
    "GatedMLP",
    "OutputCollector",
    "PreNormLayer",
    "RMSNorm",
    "RotaryEmbedding",
    "ScaledEmbedding",
    "SelfAttention",
    "activation",
    "apply_rotary",
    "cache_for",
    "cross_attention_mask",
    "decoder_mask",
    "embed_tokens",
    "keep_positions",
    "look_up",
    "position_ids_from",
]
