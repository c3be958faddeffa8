"""Whatever is done to a cache between two calls of a model, the next tokens get the logits that they get without a cache.

Every installed cache and kernel, in models with grouped heads, with windows, and with windows, a soft cap and full layers by turns;
rows with padding on the left, and tokens that are tried and taken back, rows that are reordered, chosen and repeated, and offloading.
"""

import contextlib
import random

import pytest
import torch
from transept_gemma2.configuration import Gemma2Config
from transept_gemma2.modeling import Gemma2ForCausalLM
from transept_llama.configuration import LlamaConfig
from transept_llama.modeling import LlamaForCausalLM
from transept_mistral.configuration import MistralConfig
from transept_mistral.modeling import MistralForCausalLM

from transept.discovery import load_object, registry
from transept.errors import CacheError

SMALL = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "initializer_range": 0.3,
}
MODELS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SMALL)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SMALL, sliding_window=6)),
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**SMALL, sliding_window=6, head_dim=8, attn_logit_softcapping=2.0)),
}
CACHES = {  # with settings under which nothing is rounded and nothing is dropped
    "dynamic": ("dynamic", {}),
    "static": ("static", {}),
    "static whole": ("static", {"whole": True}),
    "quantized": ("quantized", {"residual_length": 100}),
    "offloaded": ("offloaded", {}),
    "sink": ("sink", {"window_length": 100}),
    "paged": ("paged", {"block_size": 4}),
}
CASES = [
    (family, cache, kernel)
    for family in MODELS
    for cache in CACHES
    for kernel in ("eager", "sdpa", "flex_attention", "paged")
    if (family, kernel) != ("gemma2", "sdpa")  # it has no softcap
    and (kernel != "paged" or cache in ("dynamic", "paged"))  # over tensors that kernel is sdpa
]
ROOM = 100


def test_every_installed_cache_is_tried():
    assert {key for key, _ in CACHES.values()} == set(registry.keys("caches"))


@pytest.fixture(scope="module")
def models():
    torch.manual_seed(0)
    return {name: make().eval() for name, make in MODELS.items()}


class Course:
    """Rows of tokens, padded on the left, that a model with a cache is told in pieces."""

    def __init__(self, model, key, options, seed):
        self.model, self.draw = model, random.Random(seed)
        make = load_object(registry.get("caches", key).cache, owner="the tests")
        self.cache = make(
            model.config, max_cache_len=ROOM, batch_size=3, device=torch.device("cpu"), dtype=torch.float32, **options
        )
        self.generator = torch.Generator().manual_seed(seed)
        self.ids = torch.empty(3, 0, dtype=torch.long)
        self.padding = torch.tensor([4, 0, 2])
        self.offloads = key == "offloaded"

    def told(self, count):
        new = torch.randint(1, 97, (self.ids.shape[0], count), generator=self.generator)
        self.ids = torch.cat((self.ids, new), 1)
        mask = torch.arange(self.ids.shape[1]) >= self.padding[:, None]
        found = self.model(self.ids[:, -count:], attention_mask=mask.long(), past_key_values=self.cache).logits
        serving = self.model.config.attn_implementation
        self.model.set_attention("eager")
        expected = self.model(self.ids, attention_mask=mask.long(), use_cache=False).logits[:, -count:]
        self.model.set_attention(serving)
        kept = mask[:, -count:]
        torch.testing.assert_close(found[kept], expected[kept], atol=2e-4, rtol=2e-4)
        assert torch.isfinite(found).all()
        assert self.cache.get_seq_length() == self.ids.shape[1]

    def change(self):
        rows, seen = self.ids.shape[0], self.ids.shape[1]
        what = self.draw.choice(["crop", "crop", "reorder", "select", "repeat", "offload"])
        if what == "crop":
            tried = self.draw.randint(1, 4)
            self.told(tried)
            kept = self.draw.randint(0, tried)
            self.cache.crop(-(tried - kept)) if self.draw.random() < 0.5 else self.cache.crop(seen + kept)
            self.ids = self.ids[:, : seen + kept]
        elif what == "offload":
            with contextlib.nullcontext() if self.offloads else pytest.raises(CacheError, match="has no `offload`"):
                self.cache.offload()
        elif what == "repeat":
            if rows <= 3:
                self.cache.batch_repeat_interleave(2)
                self.take(torch.arange(rows).repeat_interleave(2))
        else:
            count = rows if what == "reorder" else self.draw.randint(1, rows)
            chosen = torch.tensor([self.draw.randrange(rows) for _ in range(count)])
            self.cache.reorder_cache(chosen) if what == "reorder" else self.cache.batch_select_indices(chosen)
            self.take(chosen)

    def take(self, rows):
        self.ids, self.padding = self.ids[rows], self.padding[rows]


@torch.no_grad()
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("family", "cache", "kernel"), CASES)
def test_any_course_of_steps(models, family, cache, kernel, seed):
    model = models[family]
    model.set_attention(kernel)
    course = Course(model, *CACHES[cache], seed=10 * CASES.index((family, cache, kernel)) + seed)
    course.told(course.draw.choice([5, 9, 12]))
    for _ in range(5):
        course.change()
        course.told(course.draw.choice([1, 1, 3]))
