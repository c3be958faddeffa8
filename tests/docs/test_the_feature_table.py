"""The README's table of features names every dist there is, and none that there is not."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_dist_has_a_row_and_every_row_its_dists() -> None:
    table = (ROOT / "README.md").read_text().split("## What there is")[1].split("\n## ")[0]
    named = set(re.findall(r"`(transept-[a-z0-9-]+)`", table))
    there = {
        re.search(r'^name = "(.+)"', file.read_text(), re.M)[1]
        for file in (*ROOT.glob("plugins/*/pyproject.toml"), *ROOT.glob("contrib_models/*/pyproject.toml"))
    }
    assert named == there


def test_the_number_of_families_is_right() -> None:
    families = len(list(ROOT.glob("contrib_models/*/pyproject.toml")))
    words = {14: "fourteen", 15: "fifteen", 16: "sixteen"}
    assert f"| {words[families]} families" in (ROOT / "README.md").read_text()
