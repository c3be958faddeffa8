"""What rewrites do to parameters that are tied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..errors import RewriteError
from .rewrite import AppliedRewrite, Rewrite

__all__ = ["check_ties", "ties_after"]


def ties_after(ties: Mapping[str, str], applied: Iterable[AppliedRewrite]) -> dict[str, str]:
    """Ties (target name to source name) that are in force once these rewrites were applied."""
    found = dict(ties)
    by_rewrite: dict[int, dict[str, AppliedRewrite]] = {}
    for one in applied:
        by_rewrite.setdefault(id(one.rewrite), {}).update(dict.fromkeys(one.full(one.sources), one))
    for consumed in by_rewrite.values():
        for target, source in list(found.items()):
            there, here = consumed.get(target), consumed.get(source)
            if there is None and here is None:
                continue
            del found[target]
            if there is not None and here is not None and there is not here and there.rewrite.ties == "keep":
                found.update(zip(there.full(there.targets), here.full(here.targets), strict=True))
    return found


def check_ties(rewrite: Rewrite, applied: list[AppliedRewrite], ties: Mapping[str, str]) -> None:
    consumed = {name: (one.sources, one.targets) for one in applied for name in one.full(one.sources)}
    for target, source in ties.items():
        there, here = consumed.get(target), consumed.get(source)
        if (there or here) and (rewrite.ties == "refuse" or (rewrite.ties == "keep" and there != here)):
            raise RewriteError(
                f"Rewrite `{rewrite.key}` would part `{target}` from `{source}`, which are tied: leave both out, or untie them with "
                "`tie_word_embeddings=False`.",
                key=rewrite.key,
            )
