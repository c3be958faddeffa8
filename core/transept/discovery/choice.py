"""What the person at the keyboard said about which plugins may serve: two environment variables, read at each lookup."""

from __future__ import annotations

import os
from functools import lru_cache

from ..errors import DuplicatePluginError, PluginBlockedError, PluginError, did_you_mean, shorten
from .index import Index, PluginEntry, normalise
from .known import KINDS, noun

ALLOW = "TRANSEPT_PLUGINS"
PREFER = "TRANSEPT_PREFER"


def allowed(index: Index) -> frozenset[str] | None:
    """The dists that `TRANSEPT_PLUGINS` allows (with `transept` itself, always); None: all of them.

    Raises: PluginError for a name that no installed plugin dist has.
    """
    text = os.environ.get(ALLOW, "")
    if not text.strip():
        return None
    names = _allow_list(text)
    for name in sorted(names - index.dists.keys() - {"transept"}):
        found = shorten((f"{dist} ({dist.path})" for dist in index.dists.values()), 20) or "none"
        raise PluginError(
            f"`{ALLOW}={text}` names `{name}`, and no installed plugin dist is called that.{did_you_mean(name, index.dists)} "
            f"Installed: {found}. Install it with: pip install {name}",
            dist=name,
        )
    return names


@lru_cache(maxsize=8)
def _allow_list(text: str) -> frozenset[str]:
    names = {normalise(name.strip()) for name in text.split(",") if name.strip()}
    return frozenset(names - {"none"}) | {"transept"}


def preferred(kind: str, key: str) -> str | None:
    """The dist that `TRANSEPT_PREFER` chooses for a key, if any."""
    return _preferences(os.environ.get(PREFER, "")).get((kind, key))


@lru_cache(maxsize=8)
def _preferences(text: str) -> dict[tuple[str, str], str]:
    chosen = {}
    for item in filter(None, map(str.strip, text.split(","))):
        role, equals, dist = item.rpartition("=")
        kind, colon, key = role.partition(":")
        if not (equals and colon and key.strip() and dist.strip()):
            raise PluginError(
                f"`{PREFER}` holds `{item}`; write KIND:KEY=DIST, as in `models:llama=my-dist,attention:sdpa=other`"
            )
        if kind.strip() not in KINDS:
            raise PluginError(f"`{PREFER}` holds `{item}`, and `{kind}` is no kind of plugin.{did_you_mean(kind, KINDS)}")
        chosen[kind.strip(), key.strip()] = normalise(dist.strip())
    return chosen


def choose(offers: list[PluginEntry], names: frozenset[str] | None, prefer: str | None) -> PluginEntry:
    """The one of the offers for a key that serves, where `names` are the dists that may, and `prefer` the one that was chosen.

    Raises: PluginBlockedError, DuplicatePluginError, or PluginError when the chosen dist does not offer the key.
    """
    kind, key = offers[0].kind, offers[0].key
    what = f"{noun(kind)} '{key}'"
    wanted = [offer for offer in offers if prefer in (None, offer.dist)]
    every = sorted(f"`{offer.dist}` {offer.version}" for offer in offers)
    if not wanted:
        raise PluginError(
            f"`{prefer}` is preferred for {what}, and does not offer it; {' and '.join(every)} does. "
            f"Change `{PREFER}` or `registry.prefer(...)`, or: pip install {prefer}",
            kind=kind,
            key=key,
        )
    free = [offer for offer in wanted if names is None or offer.dist in names]
    if not free:
        dist, version = wanted[0].dist, wanted[0].version
        raise PluginBlockedError(
            f"`{dist}` {version} provides {what}, and `{ALLOW}={os.environ.get(ALLOW, '')}` does not allow it. "
            f"Add `{dist}` to the variable, or unset it",
            **{"kind": kind, "key": key, "dist": dist},
        )
    if len(free) > 1:
        raise DuplicatePluginError(
            f"{what} is offered by {' and '.join(every)}. Choose one: set `{PREFER}={kind}:{key}={free[0].dist}`, call "
            f"`registry.prefer('{kind}', '{key}', '{free[0].dist}')`, or uninstall the other: pip uninstall {free[-1].dist}",
            kind=kind,
            key=key,
            dists=tuple(sorted(offer.dist for offer in free)),
        )
    return free[0]
