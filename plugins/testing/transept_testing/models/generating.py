"""Text that a model generates: the same by every way to it, and the peer's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch

from .decoding import assert_same_text, generate
from .suite import Case, ModelSuite

__all__ = ["GeneratingChecks"]


class GeneratingChecks(ModelSuite, standard=True):
    """What decoders and encoder-decoders have in common. Tests take a `generator`: a class that generates, in each shape."""

    generating: ClassVar[Sequence[str]]
    """Tasks whose class generates."""
    caches: ClassVar[Sequence[str]] = ("dynamic", "static")
    """Keys of the caches that must serve the decoder's own attention, where `supports_cache`."""

    def cases(self) -> Mapping[str, Callable[[], Sequence[Any]]]:
        def generators() -> list[Case]:
            tasks = [task for task in self.generating if task in self.tasks()]
            return [Case(task, variant) for task in tasks for variant in ("", *self.variants)]

        caches = self.caches if self.supports_cache else ()
        return {**super().cases(), "generator": generators, "cache": lambda: caches}

    def prompt(self, case: Case) -> dict[str, Any]:
        """What text is made of: the main input alone."""
        name = self.main_input(case)
        return {name: self.inputs(case)[name]}

    def test_a_class_generates(self) -> None:
        found = [task for task in self.tasks() if self.model_class(Case(task)).can_generate()]
        assert found, "no class generates: derive the one with a language-model head from `GenerationMixin`"
        assert set(self.generating) & set(found), f"`generating` is {self.generating}, and what generates is {found}"

    def test_text_is_the_same_with_and_without_a_cache(self, generator: Case, cache: str, kernel: str) -> None:
        model, prompt = self.model(generator), self.prompt(generator)
        generate(model, prompt, max_new_tokens=1)  # a kernel is refused for what the layers were seen to need
        self.use_kernel(model, kernel)
        plain = generate(model, prompt, use_cache=False)
        assert_same_text(generate(model, prompt, cache_implementation=cache), plain, self.tolerance, f"a {cache} cache")

    def test_text_reads_no_memory_that_nobody_wrote(self, generator: Case, cache: str, poisoned_memory: None) -> None:
        found = generate(self.model(generator), self.prompt(generator), cache_implementation=cache)
        assert all(torch.isfinite(score).all() for score in found.scores), (
            f"a {cache} cache shows slots that were never written"
        )

    def test_text_is_the_peers(self, generator: Case, pair: Any) -> None:
        ours, peer = pair(generator)
        prompt = self.prompt(generator)
        if self.reads_text:
            prompt["attention_mask"] = torch.ones_like(prompt["input_ids"])
        assert_same_text(generate(ours, prompt), generate(peer, prompt), self.tolerance, "text beside the peer's")
