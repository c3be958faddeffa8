"""The pages say what the code does."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["hooks.md", "cli.md", "models.md"])
def test_a_generated_page_is_up_to_date(generate, page: str) -> None:
    assert (ROOT / "docs" / page).read_text() == generate.PAGES[page](), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.slow
def test_the_python_example_of_the_readme_runs() -> None:
    code = re.search(r"## Use it from Python\n\n```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("What is the future of AI?")
    assert len(done.stdout) > 40


def test_each_environment_variable_is_documented() -> None:
    sources = "\n".join(file.read_text() for file in (ROOT / "core" / "transept").rglob("*.py"))
    pages = "\n".join(page.read_text() for page in PAGES)
    for name in sorted(set(re.findall(r"TRANSEPT_[A-Z]+", sources))):
        assert name in pages, f"{name} is read by the core and no page says so"
