"""The plugin API's version check: what a dist asks of `transept-hookspecs`, compared before anything of it is imported.

Requirements follow PEP 508, without the environment markers: a requirement that depends
on the environment is not judged.
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

from ..errors import PluginVersionError
from .versions import satisfies, version_key

if TYPE_CHECKING:
    from .index import InstalledDist

API_DIST = "transept-hookspecs"


def check_api(dist: InstalledDist, version: str) -> None:
    """Refuse a dist whose requirement on the plugin API excludes `version`.

    Raises: PluginVersionError, which says what to upgrade.
    """
    try:
        requirements = dist.requires()
    except Exception as cause:  # an interrupted installation; what a damaged file makes its reader raise is not defined
        raise PluginVersionError(
            f"The metadata of {dist} in `{dist.path}` cannot be read, so what it needs is not known: {type(cause).__name__}: "
            f"{cause}. Mend it with: pip install --force-reinstall {dist.name}",
            dist=dist.name,
            version=dist.version,
        ) from cause
    for requirement in requirements:
        wanted = _specifier(requirement)
        missed = next((clause for clause in wanted if not satisfies(version, clause)), None)
        if missed is None:
            continue
        asked = ",".join(sorted(wanted, reverse=True))
        if _asks_for_newer(version, missed):
            mend = f'pip install --upgrade transept "{API_DIST}{asked}"'
        else:
            mend = f"pip install --upgrade {dist.name}"
        raise PluginVersionError(
            f"{dist} needs {API_DIST} {asked}, and this is {version}. Mend it with: {mend}",
            dist=dist.name,
            version=dist.version,
            required=asked,
            installed=version,
        )


def _specifier(requirement: str) -> list[str]:
    """The version clauses of a requirement on the plugin API; none for one on something else."""
    text, marker, _ = requirement.strip().partition(";")
    name = "".join(takewhile(lambda char: char.isalnum() or char in "-_.", text))
    rest = text[len(name) :].strip()
    if marker or name.lower().replace("_", "-").replace(".", "-") != API_DIST:
        return []
    if rest.startswith("["):
        rest = rest.partition("]")[2].strip()
    if rest.startswith("@"):
        return []
    return [clause.replace(" ", "") for clause in rest.strip("()").split(",") if clause.strip()]


def _asks_for_newer(version: str, clause: str) -> bool:
    wanted = clause.lstrip("=!<>~").removesuffix(".*")
    return not clause.startswith(("<", "!")) and version_key(version) < version_key(wanted)
