"""`text-classification`, also called `sentiment-analysis`: labels for a text."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from torch import Tensor

from transept.errors import InputError, did_you_mean

from .base import Pipeline
from .model_inputs import TOKENIZER_ARGUMENTS, fitting

__all__ = ["TextClassificationPipeline", "scores_of"]

_FUNCTIONS = ("sigmoid", "softmax", "none")


class TextClassificationPipeline(Pipeline):
    """Label texts, or pairs `{"text": …, "text_pair": …}`, with a sequence classification model.

    - `top_k`: how many labels; None: all. When it is given a result is a list, the likeliest first.
    - `function_to_apply`: from logits to scores, `"sigmoid"`, `"softmax"` or `"none"`. By default `none` for a regression,
      `sigmoid` for one label or several independent ones (`problem_type`), else `softmax`.
    - arguments of the tokenizer: `truncation`, `max_length`, …

    Returns:
        Dicts `{"label": …, "score": …}`: for one text a list of one, for several a list of one each; lists in their place
        where `top_k` was given.
    """

    represents_head: ClassVar[bool] = True

    def further_parameters(self) -> Collection[str]:
        return TOKENIZER_ARGUMENTS

    def __call__(self, inputs: Any, **parameters: Any) -> Any:
        found = super().__call__(inputs, **parameters)
        return [found] if isinstance(inputs, str) and "top_k" not in parameters else found

    def preprocess(self, item: Any, **tokenizer_arguments: Any) -> dict[str, Any]:
        if isinstance(item, Mapping) and "text" in item and not set(item) - {"text", "text_pair"}:
            text, pair = item["text"], item.get("text_pair")
        elif isinstance(item, list | tuple):
            raise InputError(
                'A pair of texts is given as `{"text": …, "text_pair": …}`, and several of them as a list of those.'
            )
        else:
            text, pair = self.check_text(item), None
        encoded = self.tokenizer(text, pair, return_tensors="pt", **tokenizer_arguments)
        self.check_not_empty(encoded, text)
        return dict(encoded)

    def _forward(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {"logits": self.model(**fitting(self.model, inputs)).logits}

    def postprocess(
        self, outputs: dict[str, Any], *, top_k: int | str | None = "", function_to_apply: Any = None
    ) -> dict[str, Any] | list[dict[str, Any]]:
        # "" is "not given": None means all labels
        names = self.model.config.id2label
        scores = scores_of(outputs["logits"][0], self.model.config, function_to_apply)
        ranked = [
            {"label": names[place], "score": score}
            for place, score in sorted(enumerate(scores.tolist()), key=lambda each: -each[1])
        ]
        if top_k == "":
            return ranked[0]
        if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1):
            raise InputError(f"`top_k` is a number of labels from 1 up, or None for all, not {top_k!r}.")
        return ranked if top_k is None else ranked[: int(top_k)]


def scores_of(logits: Tensor, config: Any, function: Any = None) -> Tensor:
    """Logits (labels,) to scores (labels,), float32."""
    logits = logits.float()
    if function is None:
        problem = config.problem_type
        single = problem == "multi_label_classification" or config.num_labels == 1
        function = "none" if problem == "regression" else "sigmoid" if single else "softmax"
    name = str(getattr(function, "value", function)).lower()
    if name not in _FUNCTIONS:
        raise InputError(
            f"`function_to_apply` is 'sigmoid', 'softmax' or 'none', not {function!r}.{did_you_mean(name, _FUNCTIONS)}"
        )
    return {"sigmoid": logits.sigmoid, "softmax": lambda: logits.softmax(-1), "none": lambda: logits}[name]()
