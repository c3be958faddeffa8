"""The core stays one that a person reads in a day (docs/decisions/010)."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

CORE = Path(__file__).parents[2] / "core" / "transept"
_LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def code_lines(file: Path) -> int:
    """Lines that are no docstring, no comment and not blank."""
    source = file.read_text()
    texts: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            texts |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _LAYOUT:
            code |= set(range(token.start[0], token.end[0] + 1))
    return len(code - texts)


def test_the_core_has_at_most_8000_lines_of_code_beside_the_blocks() -> None:
    assert sum(code_lines(file) for file in CORE.rglob("*.py") if CORE / "nn" not in file.parents) <= 8000


def test_the_blocks_have_at_most_2000_lines_of_code() -> None:
    assert sum(code_lines(file) for file in (CORE / "nn").rglob("*.py")) <= 2000


def test_no_file_of_the_core_is_longer_than_600_lines() -> None:
    assert {file.name: n for file in CORE.rglob("*.py") if (n := len(file.read_text().splitlines())) > 600} == {}
