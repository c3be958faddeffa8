"""The layers that encoder-decoders share are torch's, which were written by others, and refuse what does not fit."""

import pytest
import torch
from torch import nn

from transept.attention import MaskSpec
from transept.cache import DynamicCache, EncoderDecoderCache
from transept.errors import ConfigError, InputError
from transept.nn import (
    DecoderLayer,
    EncoderLayer,
    LearnedPositions,
    MultiHeadAttention,
    run_layers,
    shift_tokens_right,
    states_at_last_end,
    within_float16,
)

WIDTH, HEADS, INNER = 16, 4, 24


def _copy_attention(theirs: nn.MultiheadAttention, ours: MultiHeadAttention) -> None:
    for part, name in enumerate(("q_proj", "k_proj", "v_proj")):
        projection = getattr(ours, name)
        projection.weight.copy_(theirs.in_proj_weight[part * WIDTH : (part + 1) * WIDTH])
        projection.bias.copy_(theirs.in_proj_bias[part * WIDTH : (part + 1) * WIDTH])
    ours.out_proj.load_state_dict(theirs.out_proj.state_dict())


@torch.no_grad()
def _pair(kind: type, reference: type, norms: dict[str, str], pre_norm: bool) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    theirs = reference(WIDTH, HEADS, INNER, activation="gelu", batch_first=True, norm_first=pre_norm).eval()
    for parameter in theirs.parameters():
        parameter.add_(0.2 * torch.randn_like(parameter))
    ours = kind(WIDTH, HEADS, INNER, pre_norm=pre_norm, activation_name="gelu").eval()
    _copy_attention(theirs.self_attn, ours.self_attn)
    for mine, other in {"fc1": "linear1", "fc2": "linear2", **norms}.items():
        getattr(ours, mine).load_state_dict(getattr(theirs, other).state_dict())
    return ours, theirs


@pytest.mark.parametrize("pre_norm", [True, False])
@torch.no_grad()
def test_an_encoder_layer_is_torchs(pre_norm: bool) -> None:
    norms = {"self_attn_layer_norm": "norm1", "final_layer_norm": "norm2"}
    ours, theirs = _pair(EncoderLayer, nn.TransformerEncoderLayer, norms, pre_norm)
    states, keep = torch.randn(2, 5, WIDTH), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()
    found, weights = ours(states, mask=MaskSpec.bidirectional(5, 5, keep=keep), need_weights=True)
    expected = theirs(states, src_key_padding_mask=~keep)
    torch.testing.assert_close(found[keep], expected[keep])
    assert weights.shape == (2, HEADS, 5, 5)


@pytest.mark.parametrize("pre_norm", [True, False])
@torch.no_grad()
def test_a_decoder_layer_is_torchs(pre_norm: bool) -> None:
    norms = {"self_attn_layer_norm": "norm1", "encoder_attn_layer_norm": "norm2", "final_layer_norm": "norm3"}
    ours, theirs = _pair(DecoderLayer, nn.TransformerDecoderLayer, norms, pre_norm)
    _copy_attention(theirs.multihead_attn, ours.encoder_attn)
    states, memory = torch.randn(2, 5, WIDTH), torch.randn(2, 7, WIDTH)
    masks = {"mask": MaskSpec.causal(5, 5), "cross_mask": MaskSpec.bidirectional(5, 7)}
    found, _, crossed = ours(states, encoder_hidden_states=memory, **masks, need_weights=True)
    causal = nn.Transformer.generate_square_subsequent_mask(5)
    torch.testing.assert_close(found, theirs(states, memory, tgt_mask=causal))
    assert crossed.shape == (2, HEADS, 5, 7)
    alone, _, nothing = ours(states, mask=masks["mask"])
    assert nothing is None
    assert not torch.allclose(alone, found)


@torch.no_grad()
def test_an_encoders_keys_are_projected_once() -> None:
    attention = MultiHeadAttention(WIDTH, HEADS, layer_idx=0, key_bias=False)
    assert attention.k_proj.bias is None
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    states, memory = torch.randn(1, 2, WIDTH), torch.randn(1, 7, WIDTH)
    mask = MaskSpec.bidirectional(2, 7)
    first, _ = attention(states, mask=mask, key_value_states=memory, past_key_values=cache)
    again, _ = attention(states, mask=mask, key_value_states=torch.zeros_like(memory), past_key_values=cache)
    assert torch.equal(first, again)


def test_a_width_that_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"16.*3 heads"):
        MultiHeadAttention(16, 3)


@torch.no_grad()
def test_positions_start_after_the_offset_and_end_with_the_table() -> None:
    table = LearnedPositions(6, 4, offset=2)
    assert torch.equal(table(torch.zeros(1, 3, 4))[0], table.weight[2:5])
    mask = torch.tensor([[0, 0, 1], [1, 1, 1]])
    assert torch.equal(table(torch.zeros(2, 3, 4), mask)[0, 2], table.weight[2])
    with pytest.raises(InputError, match="7 tokens"):
        table(torch.zeros(1, 7, 4))
    with pytest.raises(InputError, match="0 to 5"):
        table(torch.zeros(1, 2, 4), position_ids=torch.tensor([[0, 6]]))


def test_layers_are_dropped_while_training_alone() -> None:
    layers = nn.ModuleList(EncoderLayer(WIDTH, HEADS, INNER, pre_norm=True, activation_name="relu") for _ in range(3))
    states = torch.randn(1, 4, WIDTH)
    asked = {"output_attentions": False, "output_hidden_states": True, "mask": MaskSpec.bidirectional(4, 4)}
    dropped = run_layers(layers, states, layerdrop=1.0, **asked)
    assert torch.equal(dropped.last_hidden_state, states)
    assert len(dropped.hidden_states) == 1
    kept = run_layers(layers.eval(), states, layerdrop=1.0, finish=lambda hidden_states: 2 * hidden_states, **asked)
    assert len(kept.hidden_states) == 4
    assert torch.equal(kept.hidden_states[-1], kept.last_hidden_state)
    assert (kept.attentions, kept.cross_attentions) == (None, None)


def test_labels_are_shifted_with_a_start_for_each_row() -> None:
    labels = torch.tensor([[5, 6, -100], [7, -100, -100]])
    assert shift_tokens_right(labels, 1, 2).tolist() == [[2, 5, 6], [2, 7, 1]]
    assert shift_tokens_right(labels, 1, [3, 4]).tolist() == [[3, 5, 6], [4, 7, 1]]
    with pytest.raises(ConfigError, match="pad_token_id"):
        shift_tokens_right(labels, None, 2)


def test_the_last_of_several_ends_counts() -> None:
    states, ids = torch.arange(8.0).view(2, 4, 1), torch.tensor([[2, 2, 5, 5], [5, 5, 5, 9]])
    assert states_at_last_end(states, ids, [2, 9]).tolist() == [[1.0], [7.0]]
    with pytest.raises(InputError, match="no end-of-sequence token"):
        states_at_last_end(states, ids, [2])
    with pytest.raises(InputError, match="as many"):
        states_at_last_end(states[:, :3], ids, [2, 9])


def test_infinities_of_half_precision_become_large_numbers() -> None:
    states = torch.tensor([1.0, float("inf"), -float("inf")], dtype=torch.float16)
    assert within_float16(states).tolist() == [1.0, 64512.0, -64512.0]
    assert within_float16(states.float()).isinf().any(), "other types have the range"
