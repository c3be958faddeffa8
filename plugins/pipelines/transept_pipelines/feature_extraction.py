"""`feature-extraction`: the last hidden states of a text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from .base import Pipeline
from .model_inputs import fitting

__all__ = ["FeatureExtractionPipeline"]


class FeatureExtractionPipeline(Pipeline):
    """The vectors that a model without a head gives for each token; of a model with a head, its base model's.

    - `truncation`: cut texts that are longer than the model takes. `tokenize_kwargs`: any argument of the tokenizer.
    - `return_tensors`: a tensor in place of lists.

    Returns:
        For each text a nested list, or tensor, (1, tokens, hidden); padding of a batch is cut off.
    """

    represents_head: ClassVar[bool] = True

    def preprocess(
        self, item: Any, *, truncation: bool | str | None = None, tokenize_kwargs: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        text = self.check_text(item)
        options = dict(tokenize_kwargs or {})
        if truncation is not None:
            options["truncation"] = truncation
        encoded = self.tokenizer(text, return_tensors="pt", **options)
        self.check_not_empty(encoded, text)
        return dict(encoded)

    def _forward(self, inputs: dict[str, Any]) -> dict[str, Any]:
        model = getattr(self.model, "base_model", self.model)
        if self.model.config.is_encoder_decoder:
            model = self.model.get_encoder()
        features = model(**fitting(model, inputs))[0]
        return {"features": features, "attention_mask": inputs.get("attention_mask")}

    def postprocess(self, outputs: dict[str, Any], *, return_tensors: bool = False) -> Any:
        features, mask = outputs["features"], outputs.get("attention_mask")  # (1, seq, hidden), (1, seq)
        if mask is not None:
            features = features[:, mask[0].bool()]
        return features if return_tensors else features.tolist()
