"""The tasks that a model is evaluated on."""

from __future__ import annotations

from .job import Job, Progress, Task
from .language_modeling import language_modeling
from .question_answering import question_answering
from .text_classification import text_classification
from .text_generation import REFERENCE_COLUMNS, text_generation
from .token_classification import token_classification

__all__ = ["ALIASES", "REFERENCE_COLUMNS", "TASKS", "Job", "Progress", "Task"]

TASKS = {
    task.name: task
    for task in (
        Task("text-classification", text_classification, ("labels", "scores", "values")),
        Task("token-classification", token_classification, ("tags", "labels")),
        Task("question-answering", question_answering, ("texts",)),
        Task("text-generation", text_generation, ("texts",)),
        Task("language-modeling", language_modeling, ("logits",), pipeline="text-generation"),
    )
}
ALIASES = {
    "sentiment-analysis": "text-classification",
    "ner": "token-classification",
    "summarization": "text-generation",
    "translation": "text-generation",
    "text2text-generation": "text-generation",
    "perplexity": "language-modeling",
}
