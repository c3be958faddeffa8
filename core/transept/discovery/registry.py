"""The registry: from a kind and a key to the one plugin that serves it, imported when it is asked for."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import (
    DuplicatePluginError,
    PluginBlockedError,
    PluginError,
    PluginNotFoundError,
    PluginVersionError,
    did_you_mean,
    shorten,
)
from .choice import ALLOW, PREFER, allowed, choose, preferred
from .compat import check_api
from .index import Index, InstalledDist, PluginEntry, build_index, normalise
from .known import EVENTS, KINDS, known_dist, known_keys, noun
from .loading import REGISTERED, LoadedPlugin, import_plugin, load_object, observing

if TYPE_CHECKING:
    from pluggy import PluginManager

_LOCK = threading.RLock()
if hasattr(os, "register_at_fork"):  # a child must not inherit a lock that a thread of its parent held
    os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release)


@dataclass
class _State:
    """All that a registry remembers. Nothing here decides a choice, save what `prefer` and `register` were told."""

    index: Index | None = None
    sealed: bool = False
    """Only what is registered counts; nothing is discovered."""
    plugins: dict[str, LoadedPlugin] = field(default_factory=dict)
    compatible: set[InstalledDist] = field(default_factory=set)
    broken: set[object] = field(default_factory=set)
    """What `records` tried in vain since the index was made."""
    preferences: dict[tuple[str, str], str] = field(default_factory=dict)
    registered: tuple[LoadedPlugin, ...] = ()
    observers: tuple[object, PluginManager | None] = (None, None)
    warned: set[object] = field(default_factory=set)


class Registration:
    """A plugin registered in this process. `close()`, or leaving its `with` block, takes it back."""

    def __init__(self, state: _State, plugin: LoadedPlugin) -> None:
        self._state, self._plugin = state, plugin

    def close(self) -> None:
        with _LOCK:
            self._state.registered = tuple(each for each in self._state.registered if each is not self._plugin)

    def __enter__(self) -> Registration:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class PluginRegistry:
    """What is installed, by kind and key. Use the process-wide `transept.discovery.registry`."""

    def __init__(self) -> None:
        self._state = _State()

    # Asking for one

    def get(self, kind: str, key: str) -> Any:
        """The record that serves a key: the frozen record type of `kind` in `transept_hookspecs`.

        Raises: PluginNotFoundError, DuplicatePluginError, PluginBlockedError, PluginVersionError, PluginImportError,
            PluginRecordError; each says what to do.
        """
        record = self.find(kind, key)
        if record is None:
            raise self._not_found(kind, key)
        return record

    def find(self, kind: str, key: str) -> Any:
        """Like `get`, with None where no dist offers the key; other troubles raise."""
        own = self._own(kind, key)
        if own is not None:
            return own.records(kind)[key]
        entry = self._choose(kind, key)
        return None if entry is None else self._load(entry).record(entry)

    def dist_of(self, kind: str, key: str) -> tuple[str, str]:
        """Name and version of the dist that serves a key. Imports nothing. Raises what `get` raises."""
        if self._own(kind, key) is not None:
            return REGISTERED, ""
        entry = self._entry(kind, key)
        return entry.dist, entry.version

    def owner(self, kind: str, key: str) -> str:
        """Name and version of that dist in one text, for messages."""
        return " ".join(self.dist_of(kind, key))

    # Listing

    def keys(self, kind: str) -> list[str]:
        """Every key that the allowed dists offer, sorted. Imports nothing."""
        own = [key for plugin in self._registered_for(kind) for key in plugin.records(kind)]
        index = self._index(fresh=True)
        names = self._allowed(index)
        return sorted({*own, *(entry.key for entry in index.entries(kind) if names is None or entry.dist in names)})

    def records(self, kind: str) -> list[Any]:
        """The records of all keys that load, sorted by key. What is broken is left out, with one warning each."""
        found, broken = [], self._state.broken
        preferred(kind, "")  # a malformed variable is an error, not a broken plugin
        for key in self.keys(kind):
            mark = (kind, key, self._state.registered, os.environ.get(ALLOW), os.environ.get(PREFER))
            if mark in broken:
                continue
            try:
                found.append(self.get(kind, key))
            except PluginError as error:
                broken.add(mark)
                self._warn(str(error), f"Left out, as it does not load: {error}")
        return found

    def entries(self, kind: str | None = None) -> list[PluginEntry]:
        """Every offer, sorted: those that are not allowed, and all of those that compete, as well. Imports nothing."""
        if kind is not None:
            _check_kind(kind)
        own = [
            PluginEntry(each, key, REGISTERED, "", plugin.name, "")
            for plugin in self._state.registered
            for each in plugin.kinds
            if kind in (None, each)
            for key in plugin.records(each)
        ]
        return sorted([*own, *self._index(fresh=True).entries(kind)])

    def status(self, entry: PluginEntry) -> tuple[str, PluginError | None]:
        """How an offer stands, and the error that says why.

        `ok`; `blocked` by the allow-list; `duplicate`; `unused`, as another dist is preferred; `incompatible` with this
        version of the plugin API; `broken`; `unloaded` for a public name, which is imported only when it is used.
        To know, it imports the plugin.
        """
        if entry.dist == REGISTERED:
            return "ok", None
        try:
            choose([entry], self._allowed(self._index()), None)
            if entry.kind != "observers" and self._choose(entry.kind, entry.key) != entry:
                return "unused", None
            self._check(entry)
            if entry.kind == "api":
                return "unloaded", None
            plugin = self._load(entry)
            if entry.kind != "observers":
                plugin.record(entry)
        except PluginError as error:
            return _STATUS.get(type(error), "broken"), error
        return "ok", None

    def troubles(self) -> list[str]:
        """What was odd about the installation itself: unreadable metadata, a dist that hides another of its name."""
        return list(self._index(fresh=True).troubles)

    # Choosing

    def prefer(self, kind: str, key: str, dist: str | None) -> None:
        """Say which dist serves a key that several offer; None takes it back. Stands above `TRANSEPT_PREFER`.

        Raises: PluginError when the dist does not offer the key.
        """
        _check_kind(kind)
        if dist is None:
            self._state.preferences.pop((kind, key), None)
        else:
            offers = self._offers(kind, key)
            if not offers:
                raise self._not_found(kind, key)
            self._state.preferences[kind, key] = choose(offers, None, normalise(dist)).dist
        self._state.broken.clear()

    def register(self, plugin: object, name: str) -> Registration:
        """Take a module or object with hooks as a plugin, in this process, until the registration is closed.

        It stands above what is installed; of two that offer a key, the later one serves. All its records are validated now.
        """
        loaded = LoadedPlugin(plugin, f"{REGISTERED}:{name}", f"the registered plugin `{name}`")
        for kind in loaded.kinds:
            loaded.records(kind)
        with _LOCK:
            self._state.registered += (loaded,)
        return Registration(self._state, loaded)

    @contextmanager
    def isolated(self) -> Iterator[PluginRegistry]:
        """For tests: inside the block this registry discovers nothing and knows only what is registered in it."""
        before, self._state = self._state, _State(index=Index(()), sealed=True)
        try:
            yield self
        finally:
            self._state = before

    # Public names

    def public_names(self) -> list[str]:
        """The names that plugins add to `transept`, sorted. Imports nothing."""
        return self.keys("api")

    def public_name(self, name: str) -> Any:
        """What a plugin offers under a name: `BertModel`. Imports the module that it lives in. Raises what `get` raises."""
        entry = self._entry("api", name)
        self._check(entry)
        return load_object(entry.module, f"`{entry.dist}` {entry.version}")

    # Announcing

    def notify(self, event: str, /, **details: object) -> None:
        """Call the hook `event` of every installed observer. One that fails gives a warning that names its dist."""
        if event not in EVENTS:
            raise PluginError(f"`{event}` is no event.{did_you_mean(event, EVENTS)} Events: {shorten(sorted(EVENTS), 20)}")
        state = self._state
        mark = (state.index, state.registered, os.environ.get(ALLOW))
        known, manager = state.observers  # as one: another thread may put others in their place
        if state.index is None or known != mark:
            mark = (self._index(), state.registered, os.environ.get(ALLOW))
            manager = self._observers()
            state.observers = (mark, manager)
        if manager is not None:
            getattr(manager.hook, event)(**details)

    def _observers(self) -> PluginManager | None:
        index, found = self._index(), [plugin for plugin in self._state.registered if EVENTS & plugin.hooks]
        names = self._allowed(index)
        for entry in index.entries("observers"):
            if names is None or entry.dist in names:
                try:
                    found.append(self._load(entry))
                except PluginError as error:
                    self._warn(entry, f"An observer is left out, as it does not load: {error}")
        return observing(dict.fromkeys(found), EVENTS) if found else None

    # Within

    def _index(self, *, fresh: bool = False) -> Index:
        """The index; made when there is none, and, asked for a fresh one, when a folder on `sys.path` has changed."""
        state = self._state
        index = state.index
        if index is None or (fresh and not state.sealed and index.stale()):
            with _LOCK:
                if state.index is index:
                    state.index = build_index(index)
                    state.broken.clear()
            index = state.index
        assert index is not None
        return index

    def _offers(self, kind: str, key: str) -> list[PluginEntry]:
        return self._index().find(kind, key) or self._index(fresh=True).find(kind, key)

    def _allowed(self, index: Index) -> frozenset[str] | None:
        if self._state.sealed:
            return None
        try:
            return allowed(index)
        except PluginError:
            return allowed(self._index(fresh=True))

    def _registered_for(self, kind: str) -> list[LoadedPlugin]:
        _check_kind(kind)
        return [plugin for plugin in reversed(self._state.registered) if kind in plugin.kinds]

    def _own(self, kind: str, key: str) -> LoadedPlugin | None:
        """The registered plugin that serves a key. A key may come from a file, and be anything."""
        own = self._registered_for(kind)
        return next((plugin for plugin in own if plugin.offers(kind, key)), None) if isinstance(key, str) else None

    def _choose(self, kind: str, key: str) -> PluginEntry | None:
        _check_kind(kind)
        offers = self._offers(kind, key) if isinstance(key, str) else []
        names = self._allowed(self._index())
        if not offers:
            return None
        return choose(offers, names, self._state.preferences.get((kind, key)) or preferred(kind, key))

    def _entry(self, kind: str, key: str) -> PluginEntry:
        entry = self._choose(kind, key)
        if entry is None:
            raise self._not_found(kind, key)
        return entry

    def _check(self, entry: PluginEntry) -> None:
        dist = self._index().dists.get(entry.dist)
        if dist is None or dist in self._state.compatible:
            return
        from transept_hookspecs import __version__

        check_api(dist, __version__)
        self._state.compatible.add(dist)

    def _load(self, entry: PluginEntry) -> LoadedPlugin:
        name = f"{entry.dist}:{entry.module}"
        if name not in self._state.plugins:
            self._check(entry)
            # No lock is held while a plugin's code runs; of two threads that load one plugin, the first one's is kept.
            self._state.plugins.setdefault(name, import_plugin(entry))
        return self._state.plugins[name]

    def _warn(self, about: object, message: str) -> None:
        if about not in self._state.warned:
            self._state.warned.add(about)
            warnings.warn(message, RuntimeWarning, stacklevel=3)

    def _not_found(self, kind: str, key: object) -> PluginNotFoundError:
        said = f"No installed plugin provides {noun(kind)} {key!r:.100}.{self._hint(kind, key)}".removesuffix(".")
        return PluginNotFoundError(said, kind=kind, key=key)

    def _hint(self, kind: str, key: object) -> str:
        if self._state.sealed:
            return " This registry is isolated: it knows only what is registered in it"
        if not isinstance(key, str):
            return " A key is a string"
        for plugin in self._state.plugins.values():
            if plugin.offers(kind, key):
                found = f" {plugin.owner} has a record of it without an entry point"
                return f"{found}: declare it in `transept.{kind}` and reinstall"
        installed = [entry.key for entry in self._index().entries(kind)]
        dist = known_dist(kind, key)
        near = did_you_mean(key[:100], installed if dist else {*installed, *known_keys(kind)})
        hint = (f" Install one: pip install {dist}." if dist else "") + near
        few = len(installed) <= 12 or not hint  # else what is near says enough
        return hint + (f" Installed: {shorten(installed, 12) or 'none'}" if few else "")


_STATUS = {PluginBlockedError: "blocked", DuplicatePluginError: "duplicate", PluginVersionError: "incompatible"}


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise PluginError(f"`{kind}` is no kind of plugin.{did_you_mean(kind, KINDS)} Kinds: {shorten(KINDS, 30)}", kind=kind)


registry = PluginRegistry()
"""The registry of this process."""
