"""What is installed: which dist offers which key, read from entry-point files; nothing is imported.

The files' format is the entry points specification of the Python Packaging User Guide. Reading the folders of `sys.path`
ourselves is what makes a thousand dists affordable; importlib-metadata serves what is not a plain folder, and the one dist
whose metadata is needed.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING

from .versions import version_key

if TYPE_CHECKING:
    from importlib_metadata import Distribution

GROUP = "transept."
SETTLE_NS = 2_000_000_000
"""A folder changed this shortly before it was read may change again within one tick of the file system's clock."""


@dataclass(frozen=True, slots=True, order=True)
class PluginEntry:
    """One offer: an installed dist says that `module` provides `key`."""

    kind: str
    key: str
    dist: str
    """Normalised name (PEP 503)."""
    version: str
    module: str
    """The plugin module; for the kind `api`, ``"module:Name"``."""
    path: str
    """The dist's metadata folder."""


@dataclass(frozen=True)
class InstalledDist:
    """A dist that offers something, by its metadata folder."""

    name: str
    version: str
    path: str
    foreign: Distribution | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"`{self.name}` {self.version}"

    def requires(self) -> list[str]:
        """Its requirements (`Requires-Dist`), as written. Raises what reading damaged metadata raises."""
        return list(_metadata(self.path, self.foreign).requires or [])


Offers = list[tuple[InstalledDist, list[tuple[str, str, str]]]]
"""Dists, each with its lines as (kind, key, module)."""


@dataclass(frozen=True)
class Scan:
    """What one place on `sys.path` held when it was read."""

    place: str
    mtime: int
    taken: int
    found: Offers
    troubles: list[str]

    def holds(self, mtime: int | None) -> bool:
        return mtime == self.mtime and self.mtime < self.taken - SETTLE_NS


class Index:
    """The offers of every dist, by kind and key. The first dist of a name on `sys.path` is the one that Python imports."""

    def __init__(self, scans: Iterable[Scan]) -> None:
        self.scans = {scan.place: scan for scan in scans}
        self.offers: dict[str, dict[str, list[PluginEntry]]] = {}
        self.dists: dict[str, InstalledDist] = {}
        self.troubles: list[str] = []
        for scan in self.scans.values():
            self.troubles += scan.troubles
            for dist, lines in scan.found:
                self._add(dist, lines)

    def _add(self, dist: InstalledDist, lines: list[tuple[str, str, str]]) -> None:
        first = self.dists.setdefault(dist.name, dist)
        if first is not dist:
            if os.path.realpath(first.path) != os.path.realpath(dist.path):
                self.troubles.append(f"`{dist.path}` is left out: {first} at `{first.path}` comes before it on sys.path")
            return
        for kind, key, module in lines:
            offers = self.offers.setdefault(kind, {}).setdefault(key, [])
            offers.append(PluginEntry(kind, key, dist.name, dist.version, module, dist.path))

    def find(self, kind: str, key: str) -> list[PluginEntry]:
        return self.offers.get(kind, {}).get(key, [])

    def entries(self, kind: str | None = None) -> list[PluginEntry]:
        kinds = self.offers.values() if kind is None else [self.offers.get(kind, {})]
        return sorted(entry for keys in kinds for offers in keys.values() for entry in offers)

    def stale(self) -> bool:
        """Whether a place on `sys.path` came, went or changed since it was read."""
        places = dict(_places())
        known = {place: scan for place, scan in self.scans.items() if not place.startswith("<")}
        return list(places) != list(known) or not all(scan.holds(places[place]) for place, scan in known.items())


def build_index(old: Index | None = None) -> Index:
    """Read every place on `sys.path`; of `old`, what has not changed since is kept."""
    known = old.scans if old is not None else {}
    if old is not None:
        importlib.invalidate_caches()  # or a module that came since is not found
    scans = [
        known[place] if place in known and known[place].holds(mtime) else _scan(place, mtime) for place, mtime in _places()
    ]
    return Index([*scans, *_scan_finders()])


def _places() -> Iterator[tuple[str, int]]:
    """Each folder or archive on `sys.path` once, symbolic links followed, with its time of change."""
    seen = set()
    for entry in sys.path:
        try:
            place = entry or os.getcwd()
            facts = os.stat(place)
        except (OSError, ValueError):
            continue
        if (facts.st_dev, facts.st_ino) not in seen:
            seen.add((facts.st_dev, facts.st_ino))
            yield place, facts.st_mtime_ns


def _scan(place: str, mtime: int) -> Scan:
    taken = time.time_ns()
    troubles: list[str] = []
    plain = os.path.isdir(place) and not place.endswith(".egg")
    found = _read_folder(place, troubles) if plain else _read_archive(place, troubles)
    return Scan(place, mtime, taken, found, troubles)


def _read_folder(place: str, troubles: list[str]) -> Offers:
    found = []
    try:
        names = os.listdir(place)
    except OSError as error:
        troubles.append(f"`{place}` cannot be read: {error}")
        return []
    for name in names:
        if not name.endswith((".dist-info", ".egg-info")) or name.startswith("~"):  # pip's own names while it replaces a dist
            continue
        path = os.path.join(place, name)
        try:
            with open(os.path.join(path, "entry_points.txt"), "rb", buffering=0) as file:
                data = file.read()
            lines = list(parse_entry_points(data.decode())) if GROUP.encode() in data else []
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, UnicodeDecodeError) as error:
            troubles.append(f"`{path}` cannot be read: {error}")
            continue
        if lines:
            found.append((_dist_of_folder(path, name), lines))
    if len({dist.name for dist, _ in found}) < len(found):
        # An interrupted upgrade leaves two metadata folders of one dist: the newest counts, whatever order the folder has.
        found.sort(key=lambda each: (each[0].path.endswith(".dist-info"), version_key(each[0].version)), reverse=True)
    return found


def _dist_of_folder(path: str, folder: str) -> InstalledDist:
    stem, suffix = os.path.splitext(folder)
    name, _, version = stem.rpartition("-") if suffix == ".dist-info" else stem.partition("-")
    if not name or not version:  # an `.egg-info` beside its source names no version
        name, version = stem.partition("-")[0], _version(path)
    return InstalledDist(normalise(name), version.split("-py")[0], path)


def _version(path: str) -> str:
    try:
        return _metadata(path).version
    except Exception:  # absent or damaged metadata; it is told when the dist is chosen
        return "unknown"


def _metadata(path: str, foreign: Distribution | None = None) -> Distribution:
    from importlib_metadata import PathDistribution

    return foreign if foreign is not None else PathDistribution(Path(path))


def _read_archive(place: str, troubles: list[str]) -> Offers:
    from importlib_metadata import DistributionFinder, MetadataPathFinder

    context = DistributionFinder.Context(path=[place])
    return _read_foreign(place, lambda: MetadataPathFinder().find_distributions(context), troubles)


def _scan_finders() -> Iterator[Scan]:
    """Dists that other import finders know of: those that a packager or an editable install put on `sys.meta_path`."""
    for finder in sys.meta_path:
        find = getattr(finder, "find_distributions", None)
        if find is None or finder is PathFinder or type(finder).__name__ == "MetadataPathFinder":
            continue
        from importlib_metadata import DistributionFinder

        place, troubles = f"<{type(finder).__name__} {id(finder)}>", list[str]()
        found = _read_foreign(place, partial(find, DistributionFinder.Context()), troubles)
        yield Scan(place, 0, 0, found, troubles)


def _read_foreign(place: str, find: Callable[[], Iterable[Distribution]], troubles: list[str]) -> Offers:
    found = []
    try:
        for dist in find():
            lines = list(parse_entry_points(dist.read_text("entry_points.txt") or ""))
            if lines:
                path = str(getattr(dist, "_path", place))
                found.append((InstalledDist(normalise(dist.metadata["Name"]), dist.version, path, dist), lines))
    except Exception as error:  # a stranger's finder or a damaged archive: every other place still counts
        troubles.append(f"`{place}` cannot be read: {type(error).__name__}: {error}")
    return found


def parse_entry_points(text: str) -> Iterator[tuple[str, str, str]]:
    """The lines of our groups, as (kind, key, module)."""
    kind = None
    seen = set()
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("[") and line.endswith("]"):
            kind = line[1 + len(GROUP) : -1] if line.startswith(f"[{GROUP}") else None
        elif kind and line and not line.startswith(("#", ";")):
            key, equals, module = line.partition("=")
            key, module = key.strip(), module.partition("[")[0].strip()
            if equals and (kind, key) not in seen:
                seen.add((kind, key))
                yield kind, key, module


def normalise(name: str) -> str:
    """A dist's name as PEP 503 compares it."""
    return "-".join(part for part in name.lower().replace("_", "-").replace(".", "-").split("-") if part)
