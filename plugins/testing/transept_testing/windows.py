"""`SlidingWindowConformance`: layers that see a window see it whole, and nothing beyond it, whichever cache serves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import pytest
import torch

from transept.cache import DynamicCache, StaticCache

from .comparing import assert_to_scale
from .models.decoding import assert_same_text, generate, steps
from .models.suite import Case, ModelSuite

__all__ = ["SlidingWindowConformance"]

LENGTH = 9
WIDE = 64


class SlidingWindowConformance(ModelSuite, standard=True):
    """For decoders some or all of whose layers slide; beside `CausalLMConformance`, with the same `tiny`.

    The family's class that generates is run with windows around the length of the input, which is nine tokens.
    """

    window_field: ClassVar[str] = "sliding_window"
    """The configuration's field that says how many keys a query sees, its own among them."""
    windows: ClassVar[Sequence[int]] = (2, LENGTH - 1, LENGTH, LENGTH + 1)
    heads = ("causal_lm",)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.variants = {f"window of {size}": {cls.window_field: size} for size in cls.windows}

    def cases(self) -> Mapping[str, Callable[[], Sequence[Any]]]:
        windowed = [Case(task, variant) for task in self.tasks() for variant in self.variants]
        return {**super().cases(), "windowed": lambda: windowed}

    @torch.no_grad()
    def test_the_window_hides_what_the_peers_hides(self, windowed: Case, pair: Any) -> None:
        ours, peer = pair(windowed)
        inputs = self.inputs(windowed, length=LENGTH)
        found = ours(**inputs, use_cache=False).logits
        assert_to_scale(found, peer(**inputs, use_cache=False).logits, self.tolerance, "logits beside the peer's")
        whole = self.model(windowed, **{self.window_field: WIDE})(**inputs, use_cache=False).logits
        hides = self.config(windowed).get(self.window_field) < LENGTH
        assert torch.allclose(found, whole, atol=1e-5) != hides, (
            f"of {LENGTH} tokens a {windowed.variant} must hide {'some' if hides else 'none'}: the layers' masks do not have it"
        )

    @pytest.mark.parametrize("kind", ["dynamic", "static"])
    def test_text_beyond_the_window_is_the_peers(self, windowed: Case, kind: str, pair: Any) -> None:
        ours, peer = pair(windowed)
        prompt = {"input_ids": self.inputs(windowed, length=LENGTH)["input_ids"]}
        prompt["attention_mask"] = torch.ones_like(prompt["input_ids"])
        expected = generate(peer, prompt, max_new_tokens=14)
        found = generate(ours, prompt, max_new_tokens=14, cache_implementation=kind)
        assert_same_text(found, expected, self.tolerance, f"text with a {kind} cache beside the peer's")

    @torch.no_grad()
    @pytest.mark.parametrize("holds", ["every token", "room for every token", "the window"])
    @pytest.mark.parametrize("sizes", [[1] * LENGTH, [5, 1, 3], [3, 6]], ids=str)
    def test_any_cache_serves_the_window(self, windowed: Case, holds: str, sizes: list[int]) -> None:
        model = self.model(windowed)
        batch, _, places = self.padded(windowed, lengths=(LENGTH, 7), side="left")
        whole = model(**batch, use_cache=False).logits
        made: dict[str, Callable[[], Any]] = {
            "every token": DynamicCache,
            "room for every token": lambda: StaticCache(model.config, 16, whole=True),
            "the window": lambda: DynamicCache(model.config),
        }
        found = steps(model, batch.pop("input_ids"), sizes, made[holds](), **batch)
        for row, place in enumerate(places):
            assert_to_scale(found[row, place], whole[row, place], self.tolerance, f"row {row}, with a cache of {holds}")
