"""Metrics by name, and the commands `eval` and `lm-eval`."""

from collections.abc import Iterable
from typing import Any

from transept_hookspecs import CommandSpec, MetricSpec, hookimpl

_METRICS: dict[str, dict[str, str]] = {
    "classification": {
        "accuracy": "of all examples, the share that is labelled rightly",
        "balanced_accuracy": "the mean of the classes' recalls",
        "precision": "of what is called class 1, the share that is",
        "precision_macro": "precision, the mean of the classes",
        "precision_micro": "precision, over all decisions together",
        "precision_weighted": "precision, the mean of the classes by their sizes",
        "recall": "of class 1, the share that is found",
        "recall_macro": "recall, the mean of the classes",
        "recall_micro": "recall, over all decisions together",
        "recall_weighted": "recall, the mean of the classes by their sizes",
        "f1": "the harmonic mean of precision and recall, of class 1",
        "f1_macro": "F1, the mean of the classes",
        "f1_micro": "F1, over all decisions together",
        "f1_weighted": "F1, the mean of the classes by their sizes",
        "matthews_correlation": "Matthews' correlation coefficient, -1 to 1",
        "cohen_kappa": "Cohen's kappa: agreement beyond chance",
    },
    "scores": {
        "roc_auc": "area under the ROC curve; of several classes the mean, each against the rest",
        "average_precision": "area under precision over recall; of several classes the mean",
        "top_5_accuracy": "the share whose label is among the five likeliest",
        "log_loss": "mean negative log likelihood of the labels, in nats",
        "brier_score": "mean squared distance of the probabilities to the labels, summed over classes",
        "calibration_error": "expected calibration error: confidence against accuracy, in 15 bins",
    },
    "likelihood": {"perplexity": "exp of the mean negative log likelihood of the tokens"},
    "values": {
        "mse": "mean squared error",
        "mae": "mean absolute error",
        "r2": "coefficient of determination",
        "pearson": "Pearson's correlation coefficient",
        "spearman": "Spearman's rank correlation coefficient",
    },
    "entities": {"seqeval": "precision, recall and F1 of whole entities, as CoNLL-2000 counts them"},
    "texts": {
        "rouge": "ROUGE-1, -2, -L and -Lsum, F-measures, 0 to 1",
        "bleu": "corpus BLEU as sacrebleu computes it, 0 to 100",
        "chrf": "character F-score as sacrebleu computes it, 0 to 100",
        "ter": "translation edit rate as sacrebleu computes it, in percent",
        "exact_match": "the share of texts that equal a reference",
        "squad": "exact match and token F1 of normalised answers, as SQuAD 1.1 counts them, 0 to 1",
    },
}
_INPUTS: dict[str, Any] = {
    "classification": "labels",
    "scores": "scores",
    "likelihood": "logits",
    "values": "values",
    "entities": "tags",
    "texts": "texts",
}
_LESS_IS_BETTER = frozenset({"log_loss", "brier_score", "calibration_error", "perplexity", "mse", "mae", "ter"})
_COMMANDS = {
    "eval": "Evaluate a model on a file of examples; write a report.",
    "lm-eval": "Run EleutherAI's evaluation harness on a model loaded here.",
}


@hookimpl
def provide_metrics() -> Iterable[MetricSpec]:
    return [
        MetricSpec(
            key=key,
            metric=f"transept_eval.metrics.{module}:{key}",
            inputs=_INPUTS[module],
            greater_is_better=key not in _LESS_IS_BETTER,
            description=text,
        )
        for module, metrics in _METRICS.items()
        for key, text in metrics.items()
    ]


@hookimpl
def provide_commands() -> Iterable[CommandSpec]:
    return [
        CommandSpec(key=key, command=f"transept_eval.commands.{name}:{name}", help=text)
        for key, text in _COMMANDS.items()
        for name in [key.replace("-", "_") + "_command"]
    ]
