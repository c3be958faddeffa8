import os
import subprocess
import sys
import textwrap

import pytest

import transept
from transept import errors


@pytest.fixture
def python(tmp_path):
    """Run code in a fresh interpreter; files named in `dists` are installed first: {dist: (entry points, {module: code})}."""

    def run(code, dists=None, **environment):
        for dist, (names, modules) in (dists or {}).items():
            info = tmp_path / f"{dist.replace('-', '_')}-1.0.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n")
            (info / "entry_points.txt").write_text("[transept.api]\n" + "".join(f"{k} = {v}\n" for k, v in names.items()))
            for module, source in modules.items():
                (tmp_path / f"{module}.py").write_text(source)
        path = os.pathsep.join([str(tmp_path), *(p for p in sys.path if p)])
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            env={**os.environ, "PYTHONPATH": path, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


KITES = {
    "kites": (
        {"KiteModel": "kite_code:KiteModel", "PlaneModel": "plane_code:PlaneModel"},
        {"kite_code": "class KiteModel: pass", "plane_code": "class PlaneModel: pass"},
    ),
    "sick-kites": ({"SickModel": "sick_code:SickModel"}, {"sick_code": "raise OSError('undefined symbol')"}),
}


def test_a_plugins_name_imports_its_own_module_only(python):
    python(
        """
        import sys, transept
        from transept import KiteModel
        assert KiteModel is transept.KiteModel is sys.modules["kite_code"].KiteModel
        assert "plane_code" not in sys.modules and "sick_code" not in sys.modules
        """,
        KITES,
    )


def test_dir_lists_core_and_plugin_names_and_imports_none(python):
    python(
        """
        import sys, transept
        names = dir(transept)
        assert {"KiteModel", "SickModel", "AutoModel", "GenerationConfig", "__version__"} <= set(names)
        assert not {"kite_code", "sick_code", "torch", "pydantic"} & sys.modules.keys()
        """,
        KITES,
    )


def test_a_star_takes_the_names_of_core_and_plugins(python):
    sound = {"kites": KITES["kites"]}
    python(
        """
        from transept import *
        assert AutoModel.__name__ == "AutoModel" and KiteModel.__module__ == "kite_code" and PlaneModel
        assert "annotations" not in dir() and "TYPE_CHECKING" not in dir()
        """,
        sound,
        TRANSEPT_PLUGINS="kites",
    )


def test_hasattr_never_raises_and_imports_at_most_the_owner(python):
    python(
        """
        import sys, transept
        assert not hasattr(transept, "SickModel")
        assert not hasattr(transept, "NobodysModel")
        assert not hasattr(transept, "_private")
        assert getattr(transept, "SickModel", 7) == 7
        assert "kite_code" not in sys.modules and "plane_code" not in sys.modules
        assert hasattr(transept, "KiteModel")
        assert "plane_code" not in sys.modules
        """,
        KITES,
    )


def test_a_broken_plugin_gives_its_real_cause(python):
    python(
        """
        import transept
        from transept.errors import PluginImportError
        try:
            from transept import SickModel
        except ImportError as error:
            assert isinstance(error, PluginImportError)
            assert "`sick-kites` 1.0" in str(error) and "OSError: undefined symbol" in str(error), error
            assert isinstance(error.__cause__, OSError)
        else:
            raise SystemExit("imported")
        try:
            transept.SickModel
        except AttributeError as error:
            assert "OSError: undefined symbol" in str(error)
            assert isinstance(error.__cause__, PluginImportError)
        """,
        KITES,
    )


def test_two_dists_with_one_name_are_named_in_the_import_error(python):
    python(
        """
        try:
            from transept import KiteModel
        except ImportError as error:
            assert "`kites` 1.0" in str(error) and "`other-kites` 1.0" in str(error), error
            assert "TRANSEPT_PREFER=api:KiteModel=" in str(error)
        else:
            raise SystemExit("imported")
        """,
        {**KITES, "other-kites": ({"KiteModel": "other_code:KiteModel"}, {"other_code": "class KiteModel: pass"})},
    )
    python("from transept import KiteModel; assert KiteModel.__module__ == 'kite_code'", TRANSEPT_PREFER="api:KiteModel=kites")


def test_an_unknown_name_gets_near_misses_and_known_ones_the_pip_command():
    with pytest.raises(ImportError, match=r"no `AutoModle`.*Did you mean `AutoModel`"):
        from transept import AutoModle  # noqa: F401
    with pytest.raises(AttributeError, match=r"no `AutoModle`.*Did you mean `AutoModel`"):
        transept.AutoModle  # noqa: B018


def test_a_known_name_of_a_dist_that_is_not_there_gets_the_pip_command(python):
    python(
        "import os; os.environ['TRANSEPT_PLUGINS'] = 'none'\n"
        "import transept\n"
        "try:\n    from transept import TorchAoConfig\nexcept ImportError as error:\n    said = str(error)\n"
        "assert 'transept-torchao' in said, said\n"
        "try:\n    transept.Trainer\nexcept AttributeError as error:\n    said = str(error)\n"
        "assert 'transept-trainer' in said, said\n"
    )


def test_submodules_come_as_attributes_and_by_import(python):
    python("import transept; assert transept.discovery.registry is __import__('transept').registry")
    python("from transept import discovery, errors; assert discovery.registry and errors.TranseptError")


def test_every_error_is_a_public_name():
    classes = {name for name in errors.__all__ if name.endswith("Error")}
    assert classes == set(transept._ROOMS["errors"].split())
    assert all(getattr(transept, name) is getattr(errors, name) for name in classes)


@pytest.mark.parametrize("name", sorted(transept._NAMES))
def test_every_name_of_the_table_is_there(name):
    assert getattr(transept, name) is not None


def test_the_table_names_each_name_once():
    names = [name for text in transept._ROOMS.values() for name in text.split()]
    assert len(names) == len(set(names))


def test_the_version_is_the_dists():
    from importlib.metadata import version

    assert transept.__version__ == version("transept")


def test_set_seed_makes_random_numbers_repeat():
    import random

    import numpy
    import torch

    def draw():
        return random.random(), torch.rand(3).tolist(), numpy.random.rand(3).tolist()

    transept.set_seed(7)
    first = draw()
    assert draw() != first
    transept.set_seed(7)
    assert draw() == first
