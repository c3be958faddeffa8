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
    """Rows of tokens that a model with a cache is told in pieces: padded on the left, or with any tokens hidden.

    With holes, one row begins with padding and one is nothing else at first.
    """

    def __init__(self, model, key, options, seed, *, holes=False):
        self.model, self.draw = model, random.Random(seed)
        make = load_object(registry.get("caches", key).cache, owner="the tests")
        self.cache = make(
            model.config, max_cache_len=ROOM, batch_size=3, device=torch.device("cpu"), dtype=torch.float32, **options
        )
        self.generator = torch.Generator().manual_seed(seed)
        self.ids = torch.empty(3, 0, dtype=torch.long)
        self.mask = torch.empty(3, 0, dtype=torch.bool)
        self.holes = holes
        self.offloads = key == "offloaded"

    def told(self, count):
        new = torch.randint(1, 97, (self.ids.shape[0], count), generator=self.generator)
        self.ids = torch.cat((self.ids, new), 1)
        mask = self.mask = torch.cat((self.mask, self.kept(*new.shape)), 1)
        found = self.model(self.ids[:, -count:], attention_mask=mask.long(), past_key_values=self.cache).logits
        serving = self.model.config.attn_implementation
        self.model.set_attention("eager")
        expected = self.model(self.ids, attention_mask=mask.long(), use_cache=False).logits[:, -count:]
        self.model.set_attention(serving)
        kept = mask[:, -count:]
        torch.testing.assert_close(found[kept], expected[kept], atol=2e-4, rtol=2e-4)
        assert torch.isfinite(found).all()
        assert self.cache.get_seq_length() == self.ids.shape[1]

    def kept(self, rows, count):
        if self.mask.shape[1]:
            return torch.rand(rows, count, generator=self.generator) < 0.7 if self.holes else torch.ones(rows, count).bool()
        kept = torch.arange(count) >= torch.tensor([[4], [0], [count if self.holes else 2]])
        if self.holes:
            kept[1, 1:] = torch.rand(count - 1, generator=self.generator) < 0.7
        return kept

    def change(self):
        rows, seen = self.ids.shape[0], self.ids.shape[1]
        what = self.draw.choice(["crop", "crop", "reorder", "select", "repeat", "offload"])
        if what == "crop":
            tried = self.draw.randint(1, 4)
            self.told(tried)
            kept = self.draw.randint(0, tried)
            self.cache.crop(-(tried - kept)) if self.draw.random() < 0.5 else self.cache.crop(seen + kept)
            self.ids, self.mask = self.ids[:, : seen + kept], self.mask[:, : seen + kept]
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
        self.ids, self.mask = self.ids[rows], self.mask[rows]


@torch.no_grad()
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("family", "cache", "kernel"), CASES)
def test_any_course_of_steps(models, family, cache, kernel, seed):
    model = models[family]
    model.set_attention(kernel)
    follow(Course(model, *CACHES[cache], seed=10 * CASES.index((family, cache, kernel)) + seed))


@torch.no_grad()
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("family", MODELS)
def test_any_course_with_any_tokens_hidden(models, family, cache, seed):
    model = models[family]
    model.set_attention("auto")
    follow(Course(model, *CACHES[cache], seed=10 * list(CACHES).index(cache) + seed, holes=True))


def follow(course):
    course.told(course.draw.choice([5, 9, 12]))
    for _ in range(5):
        course.change()
        course.told(course.draw.choice([1, 1, 3]))


def test_the_row_with_most_padding_may_go(models):
    """Of a sink cache, whose front holds every row's padding."""
    course = Course(models["llama"], *CACHES["sink"], seed=0, holes=True)
    with torch.no_grad():
        course.told(9)
        course.told(2)
        course.cache.crop(9)
        course.ids, course.mask = course.ids[:, :9], course.mask[:, :9]
        course.cache.batch_select_indices(torch.tensor([0, 1]))
        course.take(torch.tensor([0, 1]))
        for count in (2, 1, 3):
            course.told(count)
