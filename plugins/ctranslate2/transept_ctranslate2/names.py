"""From CTranslate2's names and layouts to those of the families that it is read for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from transept.checkpoints.key_map import KeyMap, Operation, Rename, Split

__all__ = ["WHISPER", "key_map"]


def _query_and_value(tensors: list[Tensor]) -> list[Tensor]:
    """The biases of queries and values; between them stand the keys', which a Whisper has not."""
    query, key, value = tensors[0].chunk(3)
    _check_zero(key)
    return [query, value]


def _with_key(tensors: list[Tensor]) -> list[Tensor]:
    query, value = tensors
    return [torch.cat((query, torch.zeros_like(query), value))]


def _value(tensors: list[Tensor]) -> list[Tensor]:
    key, value = tensors[0].chunk(2)
    _check_zero(key)
    return [value]


def _key_and_value(tensors: list[Tensor]) -> list[Tensor]:
    return [torch.cat((torch.zeros_like(tensors[0]), tensors[0]))]


def _check_zero(bias: Tensor) -> None:
    if bias.any():
        raise ValueError("its keys have a bias, which Whisper's keys have not")


def _layer(side: str) -> list[Operation]:
    """A layer's attention over its own side, its feed-forward block and their norms."""
    here, there = f"{side}.layer.{{}}", f"model.{side}.layers.{{}}"
    attention, ours = f"{here}.self_attention", f"{there}.self_attn"
    return [
        Split(f"{attention}.linear.0.weight", [f"{ours}.{part}_proj.weight" for part in "qkv"]),
        Operation([f"{attention}.linear.0.bias"], [f"{ours}.q_proj.bias", f"{ours}.v_proj.bias"], _query_and_value, _with_key),
        Rename(f"{attention}.linear.1.weight", f"{ours}.out_proj.weight"),
        Rename(f"{attention}.linear.1.bias", f"{ours}.out_proj.bias"),
        *_norm(f"{attention}.layer_norm", f"{ours}_layer_norm"),
        *(
            Rename(f"{here}.ffn.linear.{index}.{kind}", f"{there}.fc{index + 1}.{kind}")
            for index in (0, 1)
            for kind in ("weight", "bias")
        ),
        *_norm(f"{here}.ffn.layer_norm", f"{there}.final_layer_norm"),
    ]


def _norm(source: str, target: str) -> list[Operation]:
    return [Rename(f"{source}.gamma", f"{target}.weight"), Rename(f"{source}.beta", f"{target}.bias")]


_CROSS, _ENCODER_ATTN = "decoder.layer.{}.attention", "model.decoder.layers.{}.encoder_attn"

WHISPER = KeyMap(
    [
        *(Rename(f"encoder.conv{n}.{kind}", f"model.encoder.conv{n}.{kind}") for n in (1, 2) for kind in ("weight", "bias")),
        Rename("decoder.embeddings.weight", "model.decoder.embed_tokens.weight"),
        Rename("decoder.projection.weight", "proj_out.weight"),
        *(
            operation
            for side in ("encoder", "decoder")
            for operation in (
                Rename(f"{side}.position_encodings.encodings", f"model.{side}.embed_positions.weight"),
                *_norm(f"{side}.layer_norm", f"model.{side}.layer_norm"),
                *_layer(side),
            )
        ),
        Rename(f"{_CROSS}.linear.0.weight", f"{_ENCODER_ATTN}.q_proj.weight"),
        Rename(f"{_CROSS}.linear.0.bias", f"{_ENCODER_ATTN}.q_proj.bias"),
        Split(f"{_CROSS}.linear.1.weight", [f"{_ENCODER_ATTN}.{part}_proj.weight" for part in "kv"]),
        Operation([f"{_CROSS}.linear.1.bias"], [f"{_ENCODER_ATTN}.v_proj.bias"], _value, _key_and_value),
        Rename(f"{_CROSS}.linear.2.weight", f"{_ENCODER_ATTN}.out_proj.weight"),
        Rename(f"{_CROSS}.linear.2.bias", f"{_ENCODER_ATTN}.out_proj.bias"),
        *_norm(f"{_CROSS}.layer_norm", f"{_ENCODER_ATTN}_layer_norm"),
    ]
)
"""Queries, keys and values stand in one matrix there; a Whisper's keys have no bias, and zeros in its place there."""


def key_map(config: Any) -> KeyMap | None:
    """The names of a family's models in CTranslate2; None for a family that is not known here."""
    return WHISPER if config.model_type == "whisper" else None
