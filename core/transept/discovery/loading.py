"""One plugin's code: imported when it is asked for, held to the hook contract by pluggy, its records validated.

Each plugin has a pluggy manager of its own. So its hook is called alone, what it registered goes when it fails, and threads
that load two plugins at once share nothing.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

from ..errors import PluginImportError, PluginRecordError, did_you_mean, shorten
from .index import PluginEntry

if TYPE_CHECKING:
    from pluggy import HookCaller, HookImpl, PluginManager, Result

    from transept_hookspecs import Record

REGISTERED = "(registered)"
"""Stands for the dist of a plugin that was registered in this process."""


def load_object(reference: str, owner: str) -> Any:
    """Import what a record of `owner` (a dist and its version) names: ``"package.module:Name"``, or a module alone.

    Raises: PluginImportError with the owner and the cause's text; the cause is chained.
    """
    module_name, _, path = reference.partition(":")
    try:
        with _uncollected():
            # A package before its modules: asked for a module, Python locks that first, and a thread that is importing the
            # package at the time waits for it in a circle.
            for end in (i for i, char in enumerate(module_name) if char == "."):
                importlib.import_module(module_name[:end])
            found: Any = importlib.import_module(module_name)
        for name in filter(None, path.split(".")):
            if not hasattr(found, name):
                near = did_you_mean(name, vars(found)) if hasattr(found, "__dict__") else ""
                raise AttributeError(f"`{module_name}` has no `{name}`{near and '.' + near}")
            found = getattr(found, name)
    except (Exception, SystemExit) as cause:
        raise PluginImportError(
            f"`{reference}` of {owner} cannot be imported: {_said(cause)} {_advice(cause, module_name)}",
            name=module_name,
            owner=owner,
        ) from cause
    return found


@contextmanager
def _uncollected() -> Iterator[None]:
    """Let the garbage collector rest: modules make objects that stay, and each full collection would walk all of torch's."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:  # only who turned it off turns it on again: of two threads, the first
            gc.enable()


def _said(cause: BaseException) -> str:
    text = f"{type(cause).__name__}: {cause}".strip()
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _advice(cause: BaseException, module: str) -> str:
    if isinstance(cause, ModuleNotFoundError) and cause.name:
        if cause.name == module.partition(".")[0]:
            return "The dist is installed, its code is not on sys.path: after `pip install -e`, restart Python"
        return f"The module `{cause.name}` is missing: install what provides it, or see `pip check`"
    return "Mend it with `pip install --upgrade --force-reinstall` of that dist, or uninstall it"


class LoadedPlugin:
    """An imported plugin module (or object), registered with pluggy under `name`.

    Raises: PluginRecordError when it breaks the hook contract.
    """

    def __init__(self, plugin: Any, name: str, owner: str) -> None:
        import pluggy

        from transept_hookspecs import PROJECT, RECORD_KINDS, hooks

        self.plugin, self.name, self.owner = plugin, name, owner
        self.types: Mapping[str, type[Record]] = RECORD_KINDS
        self.manager = pluggy.PluginManager(PROJECT)
        self.manager.add_hookspecs(hooks)
        try:
            self.manager.register(plugin, name=name)
            self.manager.check_pending()
            self.hooks = frozenset(hook for hook, caller in vars(self.manager.hook).items() if _implemented(caller))
        except (pluggy.PluginValidationError, ValueError) as cause:
            raise self._wrong(
                f"{owner} does not keep to the hooks of transept-hookspecs: {cause}. Hooks are written as in "
                f"`transept_hookspecs.hooks`, and marked with its `@hookimpl`"
            ) from cause
        trace(self.manager)
        self.kinds = [kind for kind in RECORD_KINDS if f"provide_{kind}" in self.hooks]
        self._records: dict[str, dict[str, Record]] = {}

    def records(self, kind: str) -> Mapping[str, Record]:
        """What its hook of this kind returns, by key; of two threads that ask at once, both get the first answer.

        Raises: PluginRecordError.
        """
        if kind not in self._records:
            self._records.setdefault(kind, self._ask(kind))
        return self._records[kind]

    def offers(self, kind: str, key: str) -> bool:
        """Whether the records that it has returned so far include the key."""
        return key in self._records.get(kind, ())

    def _ask(self, kind: str) -> dict[str, Record]:
        hook, name = f"provide_{kind}", f"`provide_{kind}` of {self.owner}"
        if hook not in self.hooks:
            forgot = " It has a function of that name: decorate it with `@hookimpl`." if hasattr(self.plugin, hook) else ""
            raise self._wrong(f"{self.owner} implements no hook `{hook}`.{forgot}", kind=kind)
        try:
            records = [record for answer in getattr(self.manager.hook, hook)() for record in _listed(answer)]
        except (Exception, SystemExit) as cause:
            raise self._wrong(f"{name} failed: {type(cause).__name__}: {cause}", kind=kind) from cause
        found: dict[str, Record] = {}
        for record in records:
            if not isinstance(record, self.types[kind]):
                wanted = f"it must return records of the type `{self.types[kind].__name__}`"
                raise self._wrong(f"{name} returned {_short(record)}; {wanted}", kind=kind)
            if found.setdefault(record.key, record) is not record:
                raise self._wrong(f"{name} returned two records with the key `{record.key}`", kind=kind)
        return found

    def _wrong(self, message: str, **fields: object) -> PluginRecordError:
        return PluginRecordError(message, owner=self.owner, **fields)

    def record(self, entry: PluginEntry) -> Record:
        """The record that an entry point promises.

        Raises: PluginRecordError when none has the entry point's name as its key.
        """
        records = self.records(entry.kind)
        if entry.key not in records:
            raise self._wrong(
                f"{self.owner} has an entry point `{entry.key}` in the group `transept.{entry.kind}`, and "
                f"`provide_{entry.kind}` returned no record with that key: its keys are {shorten(records) or 'none'}."
                f"{did_you_mean(entry.key, records)} A record's key must equal the entry point's name",
                **{"kind": entry.kind, "key": entry.key},
            )
        return records[entry.key]


def _implemented(caller: HookCaller) -> bool:
    if any(impl.wrapper or impl.hookwrapper for impl in caller.get_hookimpls()):
        raise ValueError(f"`{caller.name}` is a hook wrapper, and a plugin's hooks are called alone")
    return bool(caller.get_hookimpls())


def _listed(answer: object) -> list[object]:
    from transept_hookspecs import Record  # which iterates, over its fields

    if isinstance(answer, (str, bytes, Mapping, Record)) or not isinstance(answer, Iterable):
        raise TypeError(f"it returned {_short(answer)}; it must return a list of records")
    return list(answer)


def _short(value: object) -> str:
    text = repr(value)
    return f"`{text[:80]}{'…' if len(text) > 80 else ''}`"


def import_plugin(entry: PluginEntry) -> LoadedPlugin:
    """Import the module that an entry names. Raises: PluginImportError, PluginRecordError"""
    owner = f"`{entry.dist}` {entry.version}"
    return LoadedPlugin(load_object(entry.module, owner), f"{entry.dist}:{entry.module}", f"{owner} (`{entry.module}`)")


def observing(plugins: Iterable[LoadedPlugin], events: Iterable[str]) -> PluginManager | None:
    """One manager that calls every observer; None when there is none. An observer that fails gives a warning and no more."""
    import pluggy

    from transept_hookspecs import PROJECT, hooks

    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hooks)
    trace(manager)
    for plugin in plugins:
        manager.register(_Guarded(plugin, events), name=plugin.name)
    return manager if manager.get_plugins() else None


class _Guarded:
    """An observer's event hooks, each in a shell that no exception leaves."""

    def __init__(self, plugin: LoadedPlugin, events: Iterable[str]) -> None:
        for event in events:
            for impl in getattr(plugin.manager.hook, event).get_hookimpls():
                setattr(self, event, _guard(impl, plugin.owner))


def _guard(impl: HookImpl, owner: str) -> object:
    @wraps(impl.function)
    def guarded(*args: object) -> None:
        try:
            impl.function(*args)
        except Exception as error:
            warnings.warn(f"The observer {owner} failed: {type(error).__name__}: {error}", RuntimeWarning, stacklevel=2)

    return guarded


def trace(manager: PluginManager) -> None:
    """With `TRANSEPT_TRACE=1`, print each hook call, its implementers and results on stderr."""
    if os.environ.get("TRANSEPT_TRACE", "") in {"", "0"}:
        return

    def before(hook: str, impls: Sequence[HookImpl], arguments: Mapping[str, object]) -> None:
        shown = ", ".join(f"{name}={type(value).__name__}" for name, value in arguments.items())
        names = ", ".join(impl.plugin_name for impl in impls) or "nobody"
        sys.stderr.write(f"transept trace: {hook}({shown}) calls {names}\n")

    def after(outcome: Result[Any], hook: str, impls: Sequence[HookImpl], arguments: Mapping[str, object]) -> None:
        said = repr(outcome.exception) if outcome.exception is not None else repr(outcome.get_result())
        sys.stderr.write(f"transept trace: {hook} -> {said}\n")

    manager.add_hookcall_monitoring(before, after)
