"""Blocks that models are assembled from: each is one axis along which architectures differ, named after it."""

from __future__ import annotations

from .activations import ACT2FN, activation
from .attention import AttentionHeads, SelfAttention
from .checkpointing import CheckpointedLayer, cache_for
from .collector import OutputCollector, run_layers
from .decoder import Decoder, PreNormLayer
from .embeddings import ScaledEmbedding, embed_tokens, look_up
from .encoder_decoder import (
    ClassificationHead,
    DecoderLayer,
    EncoderLayer,
    LearnedPositions,
    MultiHeadAttention,
    encode_and_decode,
    paired_cache_for,
    shift_tokens_right,
    states_at_last_end,
    within_float16,
)
from .encoder_decoder_heads import Seq2SeqForQuestionAnswering, Seq2SeqForSequenceClassification
from .encoder_heads import (
    EncoderForMultipleChoice,
    EncoderForQuestionAnswering,
    EncoderForSequenceClassification,
    EncoderForTokenClassification,
    EncoderHead,
)
from .heads import ForCausalLM, ForQuestionAnswering, ForSequenceClassification, ForTokenClassification
from .logits import keep_positions
from .masks import check_length, cross_attention_mask, decoder_mask, position_ids_from
from .mlp import GatedMLP, in_chunks
from .norms import RMSNorm
from .post_norm_encoder import (
    FirstTokenPooler,
    PostNormEncoder,
    PostNormLayer,
    QueryKeyValueAttention,
    SegmentEmbeddings,
)
from .rope import RotaryEmbedding, apply_rotary
from .word_heads import EncoderForMaskedLM, PostNormForCausalLM, PostNormForMaskedLM, PredictsWords, WordScores

__all__ = [
    "ACT2FN",
    "AttentionHeads",
    "CheckpointedLayer",
    "ClassificationHead",
    "Decoder",
    "DecoderLayer",
    "EncoderForMaskedLM",
    "EncoderForMultipleChoice",
    "EncoderForQuestionAnswering",
    "EncoderForSequenceClassification",
    "EncoderForTokenClassification",
    "EncoderHead",
    "EncoderLayer",
    "FirstTokenPooler",
    "ForCausalLM",
    "ForQuestionAnswering",
    "ForSequenceClassification",
    "ForTokenClassification",
    "GatedMLP",
    "LearnedPositions",
    "MultiHeadAttention",
    "OutputCollector",
    "PostNormEncoder",
    "PostNormForCausalLM",
    "PostNormForMaskedLM",
    "PostNormLayer",
    "PreNormLayer",
    "PredictsWords",
    "QueryKeyValueAttention",
    "RMSNorm",
    "RotaryEmbedding",
    "ScaledEmbedding",
    "SegmentEmbeddings",
    "SelfAttention",
    "Seq2SeqForQuestionAnswering",
    "Seq2SeqForSequenceClassification",
    "WordScores",
    "activation",
    "apply_rotary",
    "cache_for",
    "check_length",
    "cross_attention_mask",
    "decoder_mask",
    "embed_tokens",
    "encode_and_decode",
    "in_chunks",
    "keep_positions",
    "look_up",
    "paired_cache_for",
    "position_ids_from",
    "run_layers",
    "shift_tokens_right",
    "states_at_last_end",
    "within_float16",
]
