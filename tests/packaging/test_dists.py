"""Each dist declares what it imports, builds as a wheel, and stands alone with its declared dependencies."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DISTS = sorted(
    file.parent
    for file in [
        ROOT / "hookspecs/pyproject.toml",
        ROOT / "core/pyproject.toml",
        *ROOT.glob("contrib_models/*/pyproject.toml"),
        *ROOT.glob("plugins/*/pyproject.toml"),
    ]
)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def project(folder: Path) -> dict:
    return tomllib.loads((folder / "pyproject.toml").read_text())["project"]


def declared(folder: Path, *, extras: bool = False) -> set[str]:
    """Dists that this one requires; with `extras` also those that an extra of it brings."""
    facts = project(folder)
    wanted = [*facts["dependencies"]]
    if extras:
        wanted += [one for group in facts.get("optional-dependencies", {}).values() for one in group]
    return {normal(re.split(r"[\s<>=!~;\[]", dependency, maxsplit=1)[0]) for dependency in wanted}


def package(folder: Path) -> Path:
    return next(child for child in folder.iterdir() if (child / "__init__.py").exists() and child.name.startswith("transept"))


def offers(folder: Path) -> list[tuple[str, str]]:
    """(kind, key) of each plugin entry point that a dist declares; none for a library, as the contract and the test kit are."""
    groups = project(folder).get("entry-points", {})
    return sorted((group.removeprefix("transept."), key) for group, entries in groups.items() for key in entries)


def imported(folder: Path) -> set[str]:
    """Top-level modules that the package imports anywhere, apart from under TYPE_CHECKING."""
    found: set[str] = set()
    for file in package(folder).rglob("*.py"):
        tree = ast.parse(file.read_text())
        typing_only = {
            id(node)
            for block in ast.walk(tree)
            if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
            for statement in block.body
            for node in ast.walk(statement)
        }
        for node in ast.walk(tree):
            if id(node) in typing_only:
                continue
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names)


@pytest.mark.parametrize("folder", DISTS, ids=lambda folder: folder.name)
def test_a_dist_imports_only_what_it_declares(folder: Path) -> None:
    providers = importlib.metadata.packages_distributions()
    own = package(folder).name
    undeclared = {
        module
        for module in imported(folder) - {own}
        if not ({normal(name) for name in providers.get(module, [module])} & declared(folder, extras=folder.name != "core"))
    }
    assert not undeclared, f"{project(folder)['name']} imports {sorted(undeclared)} and declares {sorted(declared(folder))}"


def test_the_hints_name_the_dist_that_offers_a_key() -> None:
    """What the core says to install for a key is what offers it here."""
    from transept.discovery import registry
    from transept.discovery.known import known_dist

    own = {project(folder)["name"] for folder in DISTS} - {"transept"}
    entries = [entry for entry in registry.entries() if entry.dist in own]
    wrong = {
        (entry.kind, entry.key): (hint, entry.dist)
        for entry in entries
        if (hint := known_dist(entry.kind, entry.key)) not in (None, entry.dist)
    }
    assert not wrong
    missing = [
        entry for entry in entries if entry.kind not in ("api", "observers") and known_dist(entry.kind, entry.key) is None
    ]
    assert not missing, "a user without the dist is told nothing: add the keys to `transept.discovery.known`"


def test_the_core_stands_on_the_contract_alone() -> None:
    """The floors below the plugins: the contract imports nothing of ours, the core nothing but the contract."""
    ours = {package(folder).name for folder in DISTS}
    assert imported(ROOT / "hookspecs") & ours <= {"transept_hookspecs"}
    assert imported(ROOT / "core") & ours <= {"transept", "transept_hookspecs"}
    assert {name for name in declared(ROOT / "core") if name.startswith("transept")} == {"transept-hookspecs"}
    assert not [name for name in declared(ROOT / "hookspecs") if name.startswith("transept")]


@pytest.mark.parametrize("folder", DISTS, ids=lambda folder: folder.name)
def test_a_plugin_module_imports_only_the_hookspecs(folder: Path) -> None:
    file = package(folder) / "plugin.py"
    if not file.exists():
        # public names lead straight to where they live; every other offer is a record, in a module that is quick to import
        assert {kind for kind, _ in offers(folder)} <= {"api"}
        return
    modules = {
        (node.module or "").split(".")[0] if isinstance(node, ast.ImportFrom) else node.names[0].name.split(".")[0]
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert modules - set(sys.stdlib_module_names) == {"transept_hookspecs"}


@pytest.mark.parametrize("folder", DISTS, ids=lambda folder: folder.name)
def test_a_dist_is_typed_versioned_and_described(folder: Path) -> None:
    facts = project(folder)
    assert (package(folder) / "py.typed").exists()
    assert re.fullmatch(r"\d+\.\d+\.\d+", facts["version"])
    assert facts["requires-python"] == ">=3.11"
    assert len((folder / "README.md").read_text()) > 200, "a README says what the dist is and how it is used"
    version = re.search(r'__version__ = "(.+)"', (package(folder) / "__init__.py").read_text())
    assert version is None or version[1] == facts["version"]


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every dist built as a wheel, by dist name."""
    out = tmp_path_factory.mktemp("wheels")
    found = {}
    for folder in DISTS:
        code = (
            f"import os; os.chdir({str(folder)!r}); from hatchling.build import build_wheel; print(build_wheel({str(out)!r}))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        found[project(folder)["name"]] = out / done.stdout.strip().splitlines()[-1]
    return found


@pytest.fixture(scope="session")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environment's packages without any of ours: links to what pip installed."""
    folder = tmp_path_factory.mktemp("site")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not re.match(r"_?(editable_impl_)?transept", entry.name) and entry.suffix != ".pth":
            (folder / entry.name).symlink_to(entry)
    return folder


def needed(name: str) -> list[str]:
    """Our own dists that a dist declares, and theirs."""
    by_name = {project(folder)["name"]: folder for folder in DISTS}
    found = [name]
    for dist in found:
        found += [other for other in sorted(declared(by_name[dist])) if other in by_name and other not in found]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("folder", DISTS, ids=lambda folder: folder.name)
def test_a_wheel_stands_alone(folder: Path, wheels: dict[str, Path], strangers: Path, tmp_path: Path) -> None:
    """Installed with its declared dependencies and no other dist of ours, every module imports and every plugin entry works."""
    name = project(folder)["name"]
    for dist in needed(name):
        zipfile.ZipFile(wheels[dist]).extractall(tmp_path)
    code = f"""
import importlib, pkgutil, sys
sys.path[:0] = [{str(tmp_path)!r}, {str(strangers)!r}]
root = importlib.import_module({package(folder).name!r})
for module in pkgutil.walk_packages(root.__path__, root.__name__ + "."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
declared = {offers(folder)!r}
if declared:
    from transept.discovery import registry, load_object
    mine = [entry for entry in registry.entries() if entry.dist == {name!r}]
    assert sorted((entry.kind, entry.key) for entry in mine) == declared, "the wheel carries other entry points"
    for entry in mine:
        if entry.kind == "api":
            assert registry.public_name(entry.key) is not None
        else:
            status, error = registry.status(entry)
            assert status == "ok", (entry, error)
print("fine")
"""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "TRANSEPT"))}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, env=environment, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "fine" in done.stdout
