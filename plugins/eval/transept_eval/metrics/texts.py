"""Metrics of texts: predictions are strings, references for each one a list of one or more strings."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

__all__ = ["best_of", "bleu", "chrf", "exact_match", "exactly", "rouge", "squad", "ter", "token_f1"]

Texts = Sequence[str]
References = Sequence[Sequence[str]]


def rouge(predictions: Texts, references: References, *, use_stemmer: bool = False) -> dict[str, float]:
    """Lin, 2004, as Google's rouge-score computes it: mean F-measures; of several references the best counts.

    `rougeLsum` takes lines as sentences.
    """
    kinds = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    scorer = RougeScorer(kinds, use_stemmer=use_stemmer)
    found = [scorer.score_multi(true, ours) for ours, true in zip(predictions, references, strict=True)]
    return {kind: sum(each[kind].fmeasure for each in found) / len(found) for kind in kinds}


def bleu(
    predictions: Texts, references: References, *, tokenize: str = "13a", lowercase: bool = False, max_order: int = 4
) -> dict[str, float]:
    """Corpus BLEU, 0 to 100, with sacrebleu's defaults (signature: case:mixed|eff:no|tok:13a|smooth:exp)."""
    scorer = sacrebleu.BLEU(tokenize=tokenize, lowercase=lowercase, max_ngram_order=max_order)
    return {"bleu": float(scorer.corpus_score(list(predictions), _by_number(references)).score)}


def chrf(predictions: Texts, references: References, *, word_order: int = 0, lowercase: bool = False) -> dict[str, float]:
    """Corpus chrF2, 0 to 100 (Popović, 2015); `word_order=2` makes it chrF++."""
    scorer = sacrebleu.CHRF(word_order=word_order, lowercase=lowercase)
    return {"chrf": float(scorer.corpus_score(list(predictions), _by_number(references)).score)}


def ter(
    predictions: Texts, references: References, *, normalized: bool = False, case_sensitive: bool = False
) -> dict[str, float]:
    """Translation edit rate, percent (Snover et al., 2006): edits a word of the references."""
    scorer = sacrebleu.TER(normalized=normalized, case_sensitive=case_sensitive)
    return {"ter": float(scorer.corpus_score(list(predictions), _by_number(references)).score)}


def exact_match(
    predictions: Texts, references: References, *, ignore_case: bool = False, ignore_punctuation: bool = False
) -> dict[str, float]:
    """The share of predictions that equal a reference; space around both does not count."""

    def plain(text: str) -> str:
        text = text.casefold() if ignore_case else text
        return (_without_punctuation(text) if ignore_punctuation else text).strip()

    return {"exact_match": _mean(predictions, references, lambda ours, true: float(plain(ours) == plain(true)))}


def squad(predictions: Texts, references: References) -> dict[str, float]:
    """Rajpurkar et al., arXiv:1606.05250, section 6.1: exact match, and the F1 of the words; the best reference counts."""
    return {"exact_match": _mean(predictions, references, exactly), "f1": _mean(predictions, references, token_f1)}


def exactly(ours: str, true: str) -> float:
    return float(_words(ours) == _words(true))


def token_f1(ours: str, true: str) -> float:
    found, wanted = _words(ours), _words(true)
    if not found or not wanted:
        return float(found == wanted)
    common = sum((Counter(found) & Counter(wanted)).values())
    return 2 * common / (len(found) + len(wanted))


def best_of(ours: str, true: Sequence[str], score: Callable[[str, str], float]) -> float:
    return max(score(ours, each) for each in true)


def _mean(predictions: Texts, references: References, score: Callable[[str, str], float]) -> float:
    found = [best_of(ours, true, score) for ours, true in zip(predictions, references, strict=True)]
    return sum(found) / len(found)


def _words(text: str) -> list[str]:
    """Lower-case words without punctuation and articles."""
    return re.sub(r"\b(a|an|the)\b", " ", _without_punctuation(text.lower())).split()


def _without_punctuation(text: str) -> str:
    return text.translate(str.maketrans("", "", string.punctuation))


def _by_number(references: References) -> list[list[str | None]]:
    """The first references of all texts, then the second ones, …; None where a text has fewer."""
    most = max(len(each) for each in references)
    return [[each[number] if number < len(each) else None for each in references] for number in range(most)]
