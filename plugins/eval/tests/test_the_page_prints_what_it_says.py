"""The Python examples of docs/evaluation.md that show their output, run."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "evaluation.md"
EXAMPLES = re.findall(r"```python\n((?:(?!```).)*?)```\n\n```text\n(.*?)```", PAGE.read_text(), re.S) if PAGE.exists() else []


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example(number, capsys):
    code, output = EXAMPLES[number]
    exec(code, {})
    assert capsys.readouterr().out == output


def test_every_metric_stands_on_the_page():
    from transept_eval import metric_names

    text = PAGE.read_text()
    for name in metric_names():
        family, _, average = name.rpartition("_")
        assert f"`{name}`" in text or (average in ("macro", "micro", "weighted") and f"`{family}`" in text), name
    assert len(EXAMPLES) >= 2
