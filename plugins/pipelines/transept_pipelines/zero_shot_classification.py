"""`zero-shot-classification`: labels of the user's own, by asking a model of natural language inference about each.

Yin, Hay and Roth, Benchmarking Zero-shot Text Classification, arXiv:1909.00161.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from transept.errors import InputError, TokenizerError

from .base import ChunkPipeline
from .model_inputs import fitting

__all__ = ["ZeroShotClassificationPipeline"]


class ZeroShotClassificationPipeline(ChunkPipeline):
    """Label texts by how far each follows from "This example is {label}.".

    - `candidate_labels`: a list, or one string with commas between them; also the second argument of a call.
    - `hypothesis_template`: a text with `{}` where the label goes.
    - `multi_label`: each label is scored by itself (entailed against contradicted); otherwise the scores sum to 1.

    A text is cut where it is too long, a hypothesis never. The model's `label2id` says which label is the entailment.

    Returns:
        For each text `{"sequence": …, "labels": […], "scores": […]}`, the likeliest label first.
    """

    def __init__(self, model: Any, *components: Any, **parameters: Any) -> None:
        super().__init__(model, *components, **parameters)
        if self.entailment_id < 0:
            warnings.warn(
                "No label of the model begins with `entail`, so its last label is taken for the entailment: set "
                "`model.config.label2id` if that is another.",
                stacklevel=3,
            )

    @property
    def entailment_id(self) -> int:
        """Number of the label that means "it follows"; -1, the last, where no label's name says so."""
        named = (number for label, number in self.model.config.label2id.items() if str(label).lower().startswith("entail"))
        return int(next(named, -1))

    def __call__(self, inputs: Any, candidate_labels: Any = None, **parameters: Any) -> Any:
        if candidate_labels is not None:
            parameters["candidate_labels"] = candidate_labels
        return super().__call__(inputs, **parameters)

    def preprocess(
        self,
        item: Any,
        *,
        candidate_labels: str | Sequence[str] | None = None,
        hypothesis_template: str = "This example is {}.",
    ) -> Iterator[dict[str, Any]]:
        text = self.check_text(item)
        labels = _labels(candidate_labels)
        if not text.strip():
            raise InputError("A text is empty, so there is nothing to label: leave it out.")
        if hypothesis_template.format(labels[0]) == hypothesis_template:
            raise InputError(f"`hypothesis_template` has no place for the label: {hypothesis_template!r}. Put `{{}}` there.")
        for label in labels:
            yield {"label": label, "text": text, **self._encoded(text, hypothesis_template.format(label))}

    def _encoded(self, premise: str, hypothesis: str) -> dict[str, Any]:
        cut = self.tokenizer.model_max_length < 1 << 30
        try:
            return dict(self.tokenizer(premise, hypothesis, truncation="only_first" if cut else False, return_tensors="pt"))
        except TokenizerError as error:
            raise InputError(f"The hypothesis {hypothesis!r:.60} alone is longer than the model takes: shorten it.") from error

    def _forward(self, inputs: dict[str, Any]) -> dict[str, Any]:
        label, text = inputs.pop("label"), inputs.pop("text")
        return {"label": label, "text": text, "logits": self.model(**fitting(self.model, inputs)).logits}

    def postprocess(self, outputs: list[dict[str, Any]], *, multi_label: bool = False) -> dict[str, Any]:
        labels = [each["label"] for each in outputs]
        logits = torch.cat([each["logits"] for each in outputs]).float()  # (labels, the model's labels)
        entailment = self.entailment_id
        if multi_label or len(labels) == 1:
            contradiction = -1 if entailment == 0 else 0
            scores = logits[:, [contradiction, entailment]].softmax(-1)[:, 1]
        else:
            scores = logits[:, entailment].softmax(-1)
        order = scores.argsort(descending=True).tolist()
        return {
            "sequence": outputs[0]["text"],
            "labels": [labels[place] for place in order],
            "scores": [float(scores[place]) for place in order],
        }


def _labels(given: Any) -> list[str]:
    labels = [label.strip() for label in given.split(",")] if isinstance(given, str) else list(given or ())
    labels = [label for label in labels if label or not isinstance(given, str)]
    if not labels:
        raise InputError('There are no labels to choose from: `candidate_labels=["…", "…"]`.')
    for label in labels:
        if not isinstance(label, str) or not label.strip():
            raise InputError(f"`candidate_labels` has {label!r}: labels are texts.")
    return labels
