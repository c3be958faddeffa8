"""`image-classification`: labels for an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from PIL import Image
from transept_pipelines import Pipeline
from transept_pipelines.inputs import Inputs, sort_inputs
from transept_pipelines.text_classification import scores_of

from transept.errors import InputError

__all__ = ["ImageClassificationPipeline"]


class ImageClassificationPipeline(Pipeline):
    """Label pictures: PIL images, arrays, tensors or paths of files.

    - `top_k`: how many labels, the likeliest first.
    - `function_to_apply`: from logits to scores, `"sigmoid"`, `"softmax"` or `"none"`; by default `sigmoid` for one label or
      several independent ones, else `softmax`.

    Returns:
        For each picture a list of dicts `{"label": …, "score": …}`.
    """

    components: ClassVar[tuple[str, ...]] = ("image_processor",)
    represents_head: ClassVar[bool] = True

    def sort_inputs(self, inputs: Any) -> Inputs:
        return sort_inputs(inputs, lambda given: isinstance(given, Image.Image | Path) or getattr(given, "ndim", 0) in (2, 3))

    def preprocess(self, item: Any) -> dict[str, Any]:
        return dict(self.image_processor(item, return_tensors="pt"))

    def _forward(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {"logits": self.model(inputs["pixel_values"]).logits}

    def postprocess(
        self, outputs: dict[str, Any], *, top_k: int | None = 5, function_to_apply: str | None = None
    ) -> list[dict[str, Any]]:
        if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1):
            raise InputError(f"`top_k` is a number of labels from 1 up, or None for all, not {top_k!r}.")
        config = self.model.config
        scores = scores_of(outputs["logits"][0], config, function_to_apply)
        best = scores.topk(min(top_k or len(scores), len(scores)))
        return [
            {"label": config.id2label[index], "score": score}
            for score, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]
