"""`sentence-similarity`: how alike a sentence and others are in meaning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from transept_pipelines.base import ChunkPipeline

from transept.errors import InputError, did_you_mean
from transept.files import Location

from .encoder import SentenceEncoder

__all__ = ["SentenceSimilarityPipeline"]


class SentenceSimilarityPipeline(ChunkPipeline):
    """Compare a sentence with others: `pipe({"source_sentence": …, "sentences": […]})`, or `pipe(sentence, [others])`.

    The model is a checkpoint of sentence-transformers, or any encoder: that one's tokens are averaged. The measure is the
    checkpoint's, the cosine unless it names another.

    - `prompt_name`, `prompt`: what to put before each sentence; see `SentenceEncoder.encode`.

    Returns:
        For each sentence its similarities to the others, as a list of numbers in their order.
    """

    components: ClassVar[tuple[str, ...]] = ()
    """An encoder has its own tokenizer."""

    def __init__(self, model: Any, tokenizer: Any = None, **parameters: Any) -> None:
        if isinstance(model, SentenceEncoder):
            model.tokenizer = tokenizer if tokenizer is not None else model.tokenizer
        elif tokenizer is None:
            raise InputError(f"`{type(model).__name__}` comes without a tokenizer: pass `tokenizer=`, or a `SentenceEncoder`.")
        else:
            model = SentenceEncoder(model, tokenizer)
        super().__init__(model, model.tokenizer, **parameters)

    @classmethod
    def load_model(cls, location: Location, record: Any, options: dict[str, Any]) -> Any:
        return SentenceEncoder.from_pretrained(location, **options)

    def __call__(self, inputs: Any, sentences: Sequence[str] | None = None, **parameters: Any) -> Any:
        if sentences is not None:
            inputs = {"source_sentence": inputs, "sentences": sentences}
        return super().__call__(inputs, **parameters)

    def preprocess(self, item: Any, *, prompt_name: str | None = None, prompt: str | None = None) -> Iterator[dict[str, Any]]:
        before = self.model.prompt_text(prompt_name, prompt)
        for text in _parts(item):
            yield self.model.tokenize([text], before)

    def _forward(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {"embedding": self.model(**inputs)}

    def postprocess(self, outputs: list[dict[str, Any]]) -> list[float]:
        source, *others = [each["embedding"] for each in outputs]  # (1, dimension) each
        found: torch.Tensor = self.model.similarity(source, torch.cat(others))
        return found[0].tolist()


def _parts(item: Any) -> list[str]:
    if not isinstance(item, Mapping):
        raise InputError('An input is `{"source_sentence": "…", "sentences": ["…", …]}`, ' + f"not a `{type(item).__name__}`.")
    for key in ("source_sentence", "sentences"):
        if key not in item:
            raise InputError(f"An input has no `{key}`.{did_you_mean(key, item)} It needs `source_sentence` and `sentences`.")
    source, others = item["source_sentence"], item["sentences"]
    others = [others] if isinstance(others, str) else list(others)
    if not others or not all(isinstance(text, str) for text in (source, *others)):
        raise InputError("`source_sentence` is a text, and `sentences` are texts, at least one.")
    return [source, *others]
