"""What an import costs is asserted on the modules that it loads, never on seconds."""

import os
import subprocess
import sys

import pytest

HEAVY = {
    "torch",
    "numpy",
    "pydantic",
    "pydantic_core",
    "pluggy",
    "transept_hookspecs",
    "safetensors",
    "huggingface_hub",
    "importlib_metadata",
    "tokenizers",
    "transformers",
}


def loaded_by(code: str) -> set[str]:
    """Modules that a fresh interpreter has after running the code, less those of the bare interpreter."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    sets = [
        set(
            subprocess.run(
                [sys.executable, "-c", f"{each}\nimport sys\nprint(*sys.modules, sep='\\n')"],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            ).stdout.split()
        )
        for each in (code, "")
    ]
    return sets[0] - sets[1]


def test_import_transept_loads_nothing_but_itself():
    assert loaded_by("import transept") <= {"transept", "__future__"}


@pytest.mark.parametrize(
    "code",
    [
        "import transept.discovery",
        "import transept.errors",
        "from transept import TranseptError, registry",
        "import transept; dir(transept)",
        "import transept; assert not hasattr(transept, 'NoSuchName')",
        "import transept; transept.__wrapped__ if hasattr(transept, '__wrapped__') else None",
        "from transept import registry; registry.keys('models'); registry.entries(); registry.public_names()",
        "from transept import registry; registry.find('models', 'no-such-model')",
        "from transept import registry; registry.dist_of('caches', 'dynamic')",
        "from transept import registry; registry.notify('generation_step', model=None, step=0)",
    ],
)
def test_looking_around_loads_nothing_heavy(code):
    assert not loaded_by(code) & HEAVY


def test_no_plugin_is_imported_by_listing():
    code = "import transept; from transept import registry; dir(transept); registry.entries(); registry.public_names()"
    ours = {name for name in loaded_by(code) if name.startswith("transept")}
    assert all(name == "transept" or name.startswith(("transept.discovery", "transept.errors")) for name in ours)


def test_a_record_is_had_without_torch():
    loaded = loaded_by("from transept import registry; registry.get('caches', 'dynamic')")
    assert "transept_hookspecs" in loaded
    assert not loaded & {"torch", "numpy", "safetensors", "huggingface_hub"}


def test_the_contract_loads_no_torch():
    assert not loaded_by("import transept_hookspecs") & {"torch", "numpy"}
