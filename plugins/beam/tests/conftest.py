"""Small random llamas of the peer, and the same weights in ours."""

import warnings
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import transformers

import transept

PAD = 0
PROMPTS = torch.tensor([[PAD, PAD, 5, 9, 33, 2], [7, 8, 7, 8, 7, 8], [PAD, 50, 51, 4, 4, 4]])
MASK = (PROMPTS != PAD).long()


@dataclass
class Pair:
    """The peer's model and ours, with the same weights and no settings of their own."""

    peer: Any
    ours: Any

    def generate(self, *, seed: int = 5, **arguments: Any) -> tuple[Any, Any]:
        """What the peer generates, and what we do, from the same prompts and seed."""
        arguments = {"input_ids": PROMPTS, "attention_mask": MASK, "pad_token_id": PAD, "max_new_tokens": 12, **arguments}
        arguments = {name: value for name, value in arguments.items() if value is not None}
        results = []
        for model in (self.peer, self.ours):
            torch.manual_seed(seed)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                results.append(model.generate(**arguments))
        return results[0], results[1]


def make_pair(folder: Any, **overrides: Any) -> Pair:
    torch.manual_seed(0)
    settings = {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 96,
        "initializer_range": 0.35,
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
        **overrides,
    }
    peer = transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings)).eval()
    peer.generation_config = transformers.GenerationConfig()
    peer.set_attn_implementation("eager")
    peer.save_pretrained(folder)
    return Pair(peer, transept.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager"))


@pytest.fixture(scope="session")
def pair(tmp_path_factory):
    return make_pair(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="session")
def t5(tmp_path_factory):
    """An encoder and a decoder; the start, and what is filled in, is 0."""
    pytest.importorskip("transept_t5")
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=64,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=20,
        decoder_start_token_id=0,
        tie_word_embeddings=False,
    )
    peer = transformers.T5ForConditionalGeneration(config).eval()
    for parameter in peer.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.25)
    peer.generation_config = transformers.GenerationConfig(decoder_start_token_id=0)
    peer.set_attn_implementation("eager")
    folder = tmp_path_factory.mktemp("t5")
    peer.save_pretrained(folder)
    return Pair(peer, transept.AutoModelForSeq2SeqLM.from_pretrained(folder, attn_implementation="eager"))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Ours, with a vocabulary of five."""
    return make_pair(tmp_path_factory.mktemp("tiny"), vocab_size=5, initializer_range=0.6).ours
