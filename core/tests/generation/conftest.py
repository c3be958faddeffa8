"""Tiny models and a tokenizer to generate with: real attention, real caches, no plugin."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from transept.generation import GenerationConfig, GenerationMixin


class ToyConfig(SimpleNamespace):
    def to_dict(self):
        return dict(vars(self))


class ToyOutput(SimpleNamespace):
    pass


def attend(query, key, value, visible):
    scores = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).masked_fill(~visible, torch.finfo(query.dtype).min)
    weights = scores.softmax(-1)
    return weights @ value, weights


class ToyLayer(nn.Module):
    def __init__(self, size, index, cross):
        super().__init__()
        self.index = index
        self.projections = nn.ModuleList([nn.Linear(size, size) for _ in range(4)])
        self.cross = nn.MultiheadAttention(size, 2, batch_first=True) if cross else None
        self.mlp = nn.Sequential(nn.Linear(size, 2 * size), nn.GELU(), nn.Linear(2 * size, size))

    def forward(self, hidden, visible, cache, encoded, encoder_mask):
        query, key, value = (
            p(hidden).unflatten(-1, (2, -1)).transpose(1, 2) for p in self.projections[:3]
        )  # (batch, heads, length, dim)
        if cache is not None:
            key, value = getattr(cache, "self_attention_cache", cache).update(key, value, self.index)
        mixed, weights = attend(query, key, value, visible)
        hidden = hidden + self.projections[3](mixed.transpose(1, 2).flatten(2))
        if self.cross is not None:
            padding = None if encoder_mask is None else encoder_mask == 0
            hidden = hidden + self.cross(hidden, encoded, encoded, key_padding_mask=padding)[0]
        return hidden + self.mlp(hidden), weights


class ToyLM(nn.Module, GenerationMixin):
    """A decoder with learned positions; it counts its forward passes and remembers what they were given."""

    main_input_name = "input_ids"

    def __init__(self, config, cross=False):
        super().__init__()
        torch.manual_seed(config.seed)
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.layers = nn.ModuleList([ToyLayer(config.hidden_size, i, cross) for i in range(config.num_hidden_layers)])
        self.head = nn.Linear(config.hidden_size, config.vocab_size)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.3)
        self.generation_config = GenerationConfig(eos_token_id=None)
        self.calls = []

    @property
    def device(self):
        return self.head.weight.device

    @property
    def dtype(self):
        return self.head.weight.dtype

    def decode(self, hidden, mask, positions, cache, encoded=None, encoder_mask=None):
        batch, length = hidden.shape[:2]
        past = 0 if cache is None else cache.get_seq_length()
        if positions is None:
            positions = torch.arange(past, past + length)[None]
        hidden = hidden + self.positions(positions)
        visible = torch.arange(past + length) <= torch.arange(past, past + length)[:, None]  # (queries, keys)
        visible = visible[None, None]
        if mask is not None:
            assert mask.shape == (batch, past + length)
            visible = visible & (mask != 0)[:, None, None]
        states, weights = (hidden,), ()
        for layer in self.layers:
            hidden, weight = layer(hidden, visible, cache, encoded, encoder_mask)
            states, weights = (*states, hidden), (*weights, weight)
        return hidden, states, weights

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        inputs_embeds=None,
        use_cache=None,
        output_attentions=None,
        output_hidden_states=None,
        logits_to_keep=0,
        token_type_ids=None,
    ):
        self.calls.append((input_ids if inputs_embeds is None else inputs_embeds, attention_mask, position_ids))
        hidden = self.embed(input_ids) if inputs_embeds is None else inputs_embeds
        if token_type_ids is not None:
            hidden = hidden + token_type_ids[..., None]
        hidden, states, weights = self.decode(hidden, attention_mask, position_ids, past_key_values)
        return ToyOutput(
            logits=self.head(hidden[:, -logits_to_keep:]),
            past_key_values=past_key_values,
            hidden_states=states if output_hidden_states else None,
            attentions=weights if output_attentions else None,
        )


class ToyEncoder(nn.Module):
    main_input_name = "input_ids"

    def __init__(self, embed):
        super().__init__()
        self.embed = embed
        self.runs = 0

    def forward(self, input_ids=None, attention_mask=None, output_hidden_states=None, return_dict=None):
        self.runs += 1
        hidden = self.embed(input_ids)
        return EncoderOutput(last_hidden_state=hidden, hidden_states=(hidden,) if output_hidden_states else None)


class EncoderOutput(dict):
    def __getattr__(self, name):
        return self.get(name)

    def __getitem__(self, key):
        return list(self.values())[key] if isinstance(key, int) else super().__getitem__(key)


class ToySeq2Seq(ToyLM):
    def __init__(self, config):
        super().__init__(config, cross=True)
        self.encoder = ToyEncoder(self.embed)

    def get_encoder(self):
        return self.encoder

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        decoder_input_ids=None,
        decoder_attention_mask=None,
        encoder_outputs=None,
        past_key_values=None,
        use_cache=None,
        output_attentions=None,
        output_hidden_states=None,
    ):
        if encoder_outputs is None:
            encoder_outputs = self.encoder(input_ids)
        self.calls.append((decoder_input_ids, attention_mask, None))
        hidden = self.embed(decoder_input_ids)
        hidden, states, weights = self.decode(
            hidden, decoder_attention_mask, None, past_key_values, encoder_outputs[0], attention_mask
        )
        return ToyOutput(
            logits=self.head(hidden),
            past_key_values=past_key_values,
            decoder_hidden_states=states,
            decoder_attentions=weights,
            cross_attentions=(),
        )


def toy_config(**changes):
    return ToyConfig(
        **{
            "model_type": "toy",
            "vocab_size": 40,
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "max_position_embeddings": 64,
            "is_encoder_decoder": False,
            "sliding_window": None,
            "layer_types": None,
            "bos_token_id": None,
            "eos_token_id": None,
            "pad_token_id": None,
            "seed": 0,
            **changes,
        }
    )


@pytest.fixture
def make_model():
    def make(**changes):
        config = toy_config(**changes)
        return (ToySeq2Seq if config.is_encoder_decoder else ToyLM)(config).eval()

    return make


@pytest.fixture
def model(make_model):
    return make_model()


class ByteTokenizer:
    """Ids 0 to 255 are bytes; further ones are longer pieces, so that text boundaries fall inside tokens."""

    pieces = ("<end>", "ab\ncd", "né", "🙂"[0:1], " the", "\n\n", "Stop")

    def __init__(self):
        self.vocab = [bytes([i]) for i in range(256)] + [piece.encode() for piece in self.pieces]
        self.special = 256

    def id_of(self, piece):
        return 256 + self.pieces.index(piece)

    def encode(self, text):
        return list(text.encode())

    def decode(self, ids, skip_special_tokens=False):
        kept = [i for i in ids if not (skip_special_tokens and i == self.special)]
        return b"".join(self.vocab[i] for i in kept).decode(errors="replace")


@pytest.fixture
def tokenizer():
    return ByteTokenizer()


@pytest.fixture
def scripted(make_model):
    """A model that says what it is told: one list of token ids a row, whatever the prompt."""

    def make(*rows, prompt_length=1, vocab_size=300):
        model = make_model(vocab_size=8)
        model.config.vocab_size = vocab_size
        script = torch.tensor(rows)

        def forward(input_ids=None, attention_mask=None, past_key_values=None):
            step = min(input_ids.shape[1] - prompt_length, script.shape[1] - 1)
            logits = torch.zeros(input_ids.shape[0], 1, vocab_size)
            logits[torch.arange(input_ids.shape[0]), 0, script[: input_ids.shape[0], step]] = 10.0
            return ToyOutput(logits=logits)

        model.forward = forward
        model.generation_config = GenerationConfig(use_cache=False)
        return model

    return make


@pytest.fixture(autouse=True)
def one_thread():
    """Tensors are tiny here: more threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
