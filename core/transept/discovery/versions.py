"""Versions and their comparison, as PEP 440 has them."""

from __future__ import annotations

from itertools import groupby

Key = tuple[int, tuple[int, ...], tuple[int, int], int, tuple[int, int]]
"""Epoch, release without trailing zeros, pre-release, post-release, dev-release; sorts as PEP 440 says."""

_OPERATORS = ("===", "~=", "==", "!=", "<=", ">=", "<", ">")
_PHASES = {"a": 0, "alpha": 0, "b": 1, "beta": 1, "c": 2, "rc": 2, "pre": 2, "preview": 2}
_NO_PRE, _NO_POST, _NO_DEV = (9, 0), -1, (1, 0)
_NOT_A_VERSION: Key = (-1, (), _NO_PRE, _NO_POST, _NO_DEV)


def satisfies(version: str, clause: str) -> bool:
    """Whether a version meets one clause such as ``>=1.2``; pre-releases are judged like any other version."""
    operator = next((known for known in _OPERATORS if clause.startswith(known)), "")
    wanted = clause[len(operator) :].strip()
    if operator == "===":
        return version.strip().lower() == wanted.lower()
    have, bound = version_key(version), version_key(wanted.removesuffix(".*"))
    if not operator or _NOT_A_VERSION in (have, bound):
        return False
    match operator:
        case "==" | "!=":
            equal = _begins(version, wanted[:-2]) if wanted.endswith(".*") else _same(version, wanted)
            return equal == (operator == "==")
        case "~=":
            return have >= bound and _begins(version, wanted, shorten=1)
        case "<=":
            return have <= bound
        case ">=":
            return have >= bound
        case "<":  # not a pre-release of the bound either, unless the bound is one itself
            if bound[2] == _NO_PRE and bound[4] == _NO_DEV:
                bound = (*bound[:2], (-1, 0) if bound[3] == _NO_POST else _NO_PRE, bound[3], (0, 0))
            return have < bound
        case _:  # not a post-release of the bound either, unless the bound is one itself
            plain = bound[3] == _NO_POST and bound[4] == _NO_DEV
            return have > bound and not (plain and have[:3] == bound[:3] and have[3] != _NO_POST)


def _same(version: str, wanted: str) -> bool:
    local = wanted.partition("+")[2]
    return version_key(version) == version_key(wanted) and (not local or version.partition("+")[2] == local)


def _begins(version: str, prefix: str, shorten: int = 0) -> bool:
    have, wanted = _release(version), _release(prefix)
    numbers = wanted[1][: len(wanted[1]) - shorten]
    padded = have[1] + (0,) * max(0, len(numbers) - len(have[1]))
    return have[0] == wanted[0] and padded[: len(numbers)] == numbers


def _release(text: str) -> tuple[int, tuple[int, ...], str]:
    """Epoch, release numbers, and what follows them."""
    text = text.strip().lower().removeprefix("v").partition("+")[0]
    epoch, mark, rest = text.partition("!")
    if not mark:
        epoch, rest = "0", text
    end = next((i for i, char in enumerate(rest) if char not in "0123456789."), len(rest))
    numbers = rest[:end].rstrip(".").split(".")
    if not epoch.isdecimal() or not all(number.isdecimal() for number in numbers):
        return -1, (), text
    return int(epoch), tuple(map(int, numbers)), rest[len(".".join(numbers)) :]


def version_key(text: str) -> Key:
    """A key that sorts versions; one that is not of PEP 440's form sorts before all others."""
    epoch, numbers, rest = _release(text)
    if epoch < 0:
        return _NOT_A_VERSION
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers = numbers[:-1]
    pre, post, dev = _NO_PRE, _NO_POST, _NO_DEV
    parts = ["".join(run) for kind, run in groupby(rest, key=lambda c: (c.isdecimal(), c.isalpha())) if any(kind)]
    if parts and parts[0].isdecimal():  # "1.0-1" is a post-release
        parts.insert(0, "post")
    while parts:
        word = parts.pop(0)
        number = int(parts.pop(0)) if parts and parts[0].isdecimal() else 0
        if word in _PHASES:
            pre = (_PHASES[word], number)
        elif word in {"post", "rev", "r"}:
            post = number
        elif word == "dev":
            dev = (0, number)
        else:
            return _NOT_A_VERSION
    if pre == _NO_PRE and post == _NO_POST and dev != _NO_DEV:
        pre = (-1, 0)
    return epoch, numbers, pre, post, dev
