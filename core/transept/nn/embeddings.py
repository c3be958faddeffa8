"""Token embeddings: looking them up, and changing how many there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError

__all__ = ["ScaledEmbedding", "embed_tokens", "look_up", "resize_embedding", "resize_head", "resize_outputs"]

# Variance of new rows around the mean of the old ones, in units of the old rows' covariance: enough to tell them apart,
# too little to matter (https://nlp.stanford.edu/~johnhew/vocab-expansion.html).
_SPREAD = 1e-9
_BLOCK = 256


class ScaledEmbedding(nn.Embedding):
    """A token embedding whose rows are multiplied by `scale`, often sqrt(hidden_size) (https://arxiv.org/abs/1706.03762).

    The scale is rounded to the dtype of the weights, as models were trained: in bfloat16 sqrt(3072) is 55.5.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, *, scale: float = 1.0) -> None:
        super().__init__(num_embeddings, embedding_dim, padding_idx)
        self.scale = scale

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """(…, embedding_dim) of ids (…)."""
        return super().forward(input) * torch.tensor(self.scale, dtype=self.weight.dtype, device="cpu")

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, scale={self.scale:g}"


def embed_tokens(embedding: nn.Module, input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor:
    """The first hidden states, (batch, seq, hidden_size): of token ids (batch, seq), or the embeddings given.

    Raises:
        InputError: both or neither are given, nothing is in them, they are no tensor or one of another shape or dtype, or an id
            has no row.
    """
    if (input_ids is None) == (inputs_embeds is None):
        raise InputError("Give exactly one of `input_ids` and `inputs_embeds`.")
    given, name, dims = (input_ids, "input_ids", 2) if inputs_embeds is None else (inputs_embeds, "inputs_embeds", 3)
    assert given is not None
    if not isinstance(given, Tensor):
        raise InputError(f"`{name}` is a {type(given).__name__} and no tensor: tokenize with `return_tensors='pt'`.")
    if given.dim() != dims or given.shape[0] == 0 or given.shape[1] == 0:
        layout = "(batch, seq)" if dims == 2 else "(batch, seq, hidden_size)"
        raise InputError(f"`{name}` has shape {tuple(given.shape)}: it must be {layout}, with something in it.")
    if inputs_embeds is not None:
        width = getattr(embedding, "embedding_dim", inputs_embeds.shape[-1])
        if inputs_embeds.shape[-1] != width:
            raise InputError(f"`inputs_embeds` are {inputs_embeds.shape[-1]} wide, and the token embedding's rows are {width}.")
        return inputs_embeds
    return look_up(embedding, given, name, "the vocabulary", ": is the tokenizer this model's own?")


def look_up(embedding: nn.Module, ids: Tensor, name: str, table: str, hint: str = ".") -> Tensor:
    """Rows of an embedding, (…, hidden_size), for integers (…). Only a lookup that failed is looked into.

    Raises:
        InputError: an id has no row, or ids are no int64 or int32; `name`, `table` and `hint` are its words.
    """
    if ids.dtype not in (torch.int64, torch.int32):
        raise InputError(f"`{name}` is {ids.dtype}: ids are whole numbers, `{name}.long()`.")
    try:
        return embedding(ids)
    except IndexError as error:
        last = getattr(embedding, "num_embeddings", 0) - 1
        raise InputError(
            f"`{name}` has ids from {int(ids.min())} to {int(ids.max())}, and {table} is 0 to {last}{hint}"
        ) from error


@torch.no_grad()
def resize_embedding(embedding: nn.Module, rows: int, *, mean: bool, initialize: Callable[[nn.Module], None]) -> nn.Module:
    """Give a token embedding this many rows, in place; the first ones keep their values, and its `weight` is a new parameter.

    Args:
        mean: new rows are drawn around the mean of the old ones, with a sliver of their covariance.
        initialize: else, initialises a fresh `torch.nn.Embedding`, of which the new rows are taken.

    Raises:
        InputError: the module is not a `torch.nn.Embedding`, or no row would be left.
    """
    if not isinstance(embedding, nn.Embedding):
        raise InputError(
            f"A `{type(embedding).__name__}` cannot be resized, only a `torch.nn.Embedding`: undo the rewrite first."
        )
    old = embedding.weight
    _check_rows(rows)
    if rows != old.shape[0]:
        fresh = nn.Embedding(rows, old.shape[1], device=old.device, dtype=old.dtype)
        embedding.weight = _resized(old, rows, fresh, mean, initialize)
    embedding.num_embeddings = rows
    if embedding.padding_idx is not None and embedding.padding_idx >= rows:
        embedding.padding_idx = None
    return embedding


@torch.no_grad()
def resize_head(head: nn.Module, rows: int, *, mean: bool, initialize: Callable[[nn.Module], None]) -> nn.Module:
    """Give a language-model head this many outputs, in place, as `resize_embedding` does.

    Raises:
        InputError: the module is not a `torch.nn.Linear`, or no output would be left.
    """
    if not isinstance(head, nn.Linear):
        raise InputError(f"A `{type(head).__name__}` cannot be resized, only a `torch.nn.Linear`: undo the rewrite first.")
    old = head.weight
    _check_rows(rows)
    if rows != old.shape[0]:
        fresh = nn.Linear(old.shape[1], rows, bias=False, device=old.device, dtype=old.dtype)
        head.weight = _resized(old, rows, fresh, mean, initialize)
    return resize_outputs(head, rows, mean=mean)


@torch.no_grad()
def resize_outputs(head: nn.Module, rows: int, *, mean: bool) -> nn.Module:
    """What else of a head goes with this many outputs, in place: its bias, new ones the mean of the old or 0, and its size."""
    bias: Any = getattr(head, "bias", None)
    if bias is not None and rows != bias.shape[0]:
        more = bias.new_zeros(max(rows - bias.shape[0], 0))
        more = more + bias.float().mean().to(bias.dtype) if mean else more
        head.bias = nn.Parameter(torch.cat((bias, more))[:rows], requires_grad=bias.requires_grad)
    head.out_features = rows  # type: ignore[assignment]
    return head


def _check_rows(rows: int) -> None:
    if rows < 1:
        raise InputError(f"A vocabulary of {rows} tokens cannot be: ask for one or more.")


def _resized(
    old: Tensor, rows: int, fresh: nn.Embedding | nn.Linear, mean: bool, initialize: Callable[[nn.Module], None]
) -> nn.Parameter:
    kept = min(rows, old.shape[0])
    if rows > kept:
        if mean:
            fresh.weight[kept:] = _around_mean(old, rows - kept)
        else:
            initialize(fresh)
    fresh.weight[:kept] = old[:kept]
    return nn.Parameter(fresh.weight, requires_grad=old.requires_grad)


def _around_mean(old: Tensor, count: int) -> Tensor:
    """Draws from N(mean, spread x covariance) of the rows of `old`: random mixtures of the centred rows have that covariance."""
    table = old.float()
    centre = table.mean(dim=0)
    centred = (table - centre) * (_SPREAD / table.shape[0]) ** 0.5
    drawn = [
        torch.randn(min(_BLOCK, count - start), table.shape[0], device=old.device) @ centred
        for start in range(0, count, _BLOCK)
    ]
    return (centre + torch.cat(drawn)).to(old.dtype)
