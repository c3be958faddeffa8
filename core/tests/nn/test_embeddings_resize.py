"""Token embeddings are looked up with clear errors, and change their size in place."""

import pytest
import torch
from torch import nn

from transept.errors import InputError
from transept.nn import embed_tokens
from transept.nn.embeddings import resize_embedding, resize_head


def initialize(module):
    nn.init.constant_(module.weight, 7.0)


@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize("rows", [5, 8, 21])
def test_kept_rows_keep_their_values(rows, mean):
    embedding = nn.Embedding(8, 4, padding_idx=7)
    before = embedding.weight.detach().clone()
    resized = resize_embedding(embedding, rows, mean=mean, initialize=initialize)
    assert resized is embedding
    assert embedding.weight.shape == (rows, 4)
    assert embedding.num_embeddings == rows
    assert embedding.padding_idx == (7 if rows > 7 else None)
    assert torch.equal(embedding.weight[: min(rows, 8)], before[:rows])
    assert embedding.weight.requires_grad
    assert embedding(torch.tensor([rows - 1])).shape == (1, 4)


def test_new_rows_lie_around_the_mean_or_are_initialised():
    embedding = nn.Embedding(600, 4, dtype=torch.float64)
    mean, std = embedding.weight.detach().mean(0), embedding.weight.detach().std(0)
    resize_embedding(embedding, 2600, mean=True, initialize=initialize)
    new = embedding.weight.detach()[600:]
    torch.testing.assert_close(new, mean.expand_as(new), rtol=0, atol=1e-3)
    torch.testing.assert_close(new.std(0), std * 1e-9**0.5, rtol=0.1, atol=0)
    resize_embedding(embedding, 2601, mean=False, initialize=initialize)
    assert (embedding.weight[2600] == 7.0).all()


@pytest.mark.parametrize("rows", [5, 20])
def test_head_resizes_with_its_bias(rows):
    head = nn.Linear(4, 8)
    weight, bias = head.weight.detach().clone(), head.bias.detach().clone()
    head.weight.requires_grad_(False)
    assert resize_head(head, rows, mean=True, initialize=initialize) is head
    assert head.out_features == rows
    assert torch.equal(head.weight[: min(rows, 8)], weight[:rows])
    assert torch.equal(head.bias[: min(rows, 8)], bias[:rows])
    assert not head.weight.requires_grad
    assert head(torch.zeros(2, 4)).shape == (2, rows)


def test_dtype_and_device_stay():
    embedding = nn.Embedding(8, 4, dtype=torch.bfloat16, device="meta")
    resize_embedding(embedding, 12, mean=True, initialize=initialize)
    assert embedding.weight.is_meta
    assert embedding.weight.dtype == torch.bfloat16


def test_what_cannot_be_resized_is_refused():
    with pytest.raises(InputError, match=r"only a `torch.nn.Embedding`"):
        resize_embedding(nn.Linear(2, 2), 3, mean=True, initialize=initialize)
    with pytest.raises(InputError, match=r"only a `torch.nn.Linear`"):
        resize_head(nn.Embedding(2, 2), 3, mean=True, initialize=initialize)
    with pytest.raises(InputError, match="0 tokens"):
        resize_embedding(nn.Embedding(2, 2), 0, mean=True, initialize=initialize)


def test_ids_and_embeddings_are_looked_at():
    embedding = nn.Embedding(8, 4)
    ids, embeds = torch.tensor([[1, 2]]), torch.randn(1, 2, 4)
    assert torch.equal(embed_tokens(embedding, ids, None), embedding(ids))
    assert embed_tokens(embedding, None, embeds) is embeds
    for given, words in (
        ((None, None), "exactly one"),
        ((ids, embeds), "exactly one"),
        ((torch.tensor([[1, 8]]), None), "ids from 1 to 8, and the vocabulary is 0 to 7"),
        ((torch.tensor([1, 2]), None), r"`input_ids` has shape \(2,\)"),
        ((ids[:0], None), r"shape \(0, 2\)"),
        ((ids[:, :0], None), r"shape \(1, 0\)"),
        ((None, embeds[0]), r"`inputs_embeds` has shape \(2, 4\)"),
        ((None, embeds[..., :3]), "3 wide, and the token embedding's rows are 4"),
        (([[1, 2]], None), "`input_ids` is a list and no tensor: tokenize with `return_tensors='pt'`"),
        ((ids.float(), None), "`input_ids` is torch.float32"),
        ((ids.bool(), None), "`input_ids` is torch.bool"),
    ):
        with pytest.raises(InputError, match=words):
            embed_tokens(embedding, *given)
