"""The plugin of `docs/plugins.md`, written from the page, built as a wheel and used by somebody who never heard of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked wheel, as pip would leave it in site-packages."""
    source = tmp_path_factory.mktemp("source")
    page = (ROOT / "docs" / "plugins.md").read_text()
    for name, code in re.findall(r"```(?:toml|python)\n# (\S+)\n(.*?)```", page, re.S):
        file = source / name
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text(code)
    (source / "transept_parrot" / "__init__.py").touch()
    code = f"import os; os.chdir({str(source)!r}); from hatchling.build import build_wheel; print(build_wheel({str(source)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    site = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(source / done.stdout.strip().splitlines()[-1]).extractall(site)
    (site / "try_it.py").write_text((source / "try_it.py").read_text())
    return site


def run(site: Path, *command: str) -> str:
    path = os.pathsep.join(part for part in (str(site), os.environ.get("PYTHONPATH", "")) if part)
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_page_runs(installed: Path) -> None:
    assert "the parrot speaks" in run(installed, str(installed / "try_it.py"))


@pytest.mark.slow
def test_the_command_line_lists_it(installed: Path) -> None:
    assert "models\tparrot\ttransept-parrot\t0.1.0\tok" in run(installed, "-m", "transept_cli", "plugins", "--kind", "models")


@pytest.mark.slow
def test_it_trains_compiles_and_streams_like_ours(installed: Path) -> None:
    code = """
import torch, transept
torch.manual_seed(0)
model = transept.AutoModelForCausalLM.from_config(transept.AutoConfig.for_model("parrot"))
model.gradient_checkpointing_enable()
ids = torch.randint(0, 1000, (2, 9))
model.train()(ids, labels=ids, use_cache=False).loss.backward()
assert all(p.grad is not None for p in model.parameters())
model.eval()
mask = torch.ones_like(ids); mask[0, :3] = 0
padded = model.generate(ids, attention_mask=mask, max_new_tokens=5, do_sample=False)
alone = model.generate(ids[:1, 3:], max_new_tokens=5, do_sample=False)
assert torch.equal(padded[0, 9:], alone[0, 6:])
with torch.no_grad():
    for kernel in ("eager", "sdpa"):
        model.set_attention(kernel)
        torch.testing.assert_close(torch.compile(model, backend="eager")(ids, use_cache=False).logits, model(ids).logits, rtol=1e-4, atol=1e-4)
"""
    run(installed, "-c", code)


@pytest.mark.slow
def test_it_passes_the_conformance_kit(installed: Path, tmp_path: Path) -> None:
    """With the test file of `docs/testing.md`, as its author would run it."""
    page = (ROOT / "docs" / "testing.md").read_text()
    (tmp_path / "test_parrot.py").write_text(re.search(r"```python\n# tests/test_parrot\.py\n(.*?)```", page, re.S)[1])
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow\naddopts = --strict-markers\n")
    said = run(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path))
    passed = int(re.search(r"(\d+) passed", said)[1])
    assert passed > 150
    assert "failed" not in said
