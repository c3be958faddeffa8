"""What all conformance classes share: standard tests stay as they are, and known failures are written down with a reason."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import pytest

from transept.errors import did_you_mean

__all__ = ["Conformance"]


class Conformance:
    """Base of the conformance classes.

    A class made with `standard=True` adds standard tests; any other subclass is a plugin's, and may neither drop nor replace
    a standard test. What is known to fail is listed in `xfails`, or the test is overridden with
    `@pytest.mark.xfail(reason="…")` on it.
    """

    xfails: ClassVar[Mapping[str, str]] = {}
    """Standard tests that are known to fail, with the reason: `{"test_x": "…"}`, or for one case of it `{"test_x[causal_lm]": "…"}`.
    One that passes all the same is a failure, so the list stays true."""
    _is_standard: ClassVar[bool] = True

    def __init_subclass__(cls, *, standard: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._is_standard = standard
        if not standard:
            _check_overrides(cls)
            _check_xfails(cls)

    def cases(self) -> Mapping[str, Callable[[], Sequence[Any]]]:
        """What tests are repeated for: argument name to its values."""
        return {}

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        for name, values in self.cases().items():
            if name in metafunc.fixturenames:
                metafunc.parametrize(name, values(), ids=str)

    @pytest.fixture(autouse=True)
    def _known_failure(self, request: pytest.FixtureRequest) -> None:
        for key in (request.node.originalname, request.node.name):
            if key in self.xfails:
                request.applymarker(pytest.mark.xfail(reason=self.xfails[key], strict=True))


def standard_tests(cls: type) -> dict[str, list[Any]]:
    """Standard tests by name, with each definition among the bases."""
    found: dict[str, list[Any]] = {}
    for base in cls.__mro__:
        if base.__dict__.get("_is_standard", False):
            for name, member in base.__dict__.items():
                if name.startswith("test_"):
                    found.setdefault(name, []).append(member)
    return found


def _check_overrides(cls: type) -> None:
    for name, definitions in standard_tests(cls).items():
        found = inspect.getattr_static(cls, name)
        if any(found is definition for definition in definitions):
            continue
        marks = getattr(found, "pytestmark", [])
        if any(mark.name == "xfail" and mark.kwargs.get("reason") for mark in marks):
            continue
        raise TypeError(
            f"`{cls.__name__}` replaces the standard test `{name}`. If it is known to fail, say why: "
            f'`xfails = {{"{name}": "the reason"}}`, or `@pytest.mark.xfail(reason="…")` on the override. If a capability is '
            "missing, there is an attribute for it (`supports_…`)."
        )


def _check_xfails(cls: type[Conformance]) -> None:
    tests = standard_tests(cls)
    for key, reason in cls.xfails.items():
        name = key.partition("[")[0]
        if name not in tests:
            raise TypeError(f"`{cls.__name__}.xfails` names `{name}`, which is no standard test.{did_you_mean(name, tests)}")
        if not isinstance(reason, str) or not reason.strip():
            raise TypeError(f"`{cls.__name__}.xfails` gives no reason for `{key}`: say in words why it fails.")
