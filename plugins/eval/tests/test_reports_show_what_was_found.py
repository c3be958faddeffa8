"""Reports in Markdown, HTML and JSON: whole, escaped, and without anything from elsewhere."""

import json
import math
import re
import xml.etree.ElementTree as ET

import pytest
from transept_eval.charts import BarChart, Histogram, LineChart, MatrixChart
from transept_eval.results import Evaluation, Table

from transept import evaluate
from transept.errors import SaveError

EVIL = '<script>alert("1")</script> | a * b'


@pytest.fixture(scope="module")
def found(checkpoints):
    rows = [{"text": text, "label": label} for text in ("the fox", EVIL, "anna") for label in ("ham", "spam")]
    return evaluate(checkpoints("two"), rows)


def test_everything_is_written(found, tmp_path):
    files = found.save(tmp_path / "deep" / "report")
    names = [str(file.relative_to(tmp_path / "deep" / "report")) for file in files]
    charts = ["charts/confusion-matrix.svg", "charts/classes.svg", "charts/calibration.svg"]
    assert names == ["report.html", "report.md", "metrics.json", "predictions.jsonl", *charts]
    stored = json.loads((tmp_path / "deep/report/metrics.json").read_text())
    assert stored["metrics"] == found.metrics
    assert stored["examples"] == 6
    rows = [json.loads(line) for line in (tmp_path / "deep/report/predictions.jsonl").read_text().splitlines()]
    assert rows == found.predictions
    markdown = (tmp_path / "deep/report/report.md").read_text()
    for chart in charts:
        assert f"]({chart})" in markdown
    found.save(tmp_path / "deep" / "report")  # over what is there


def test_the_page_needs_nothing_else(found):
    page = found.to_html()
    assert "<script" not in page
    assert not re.search(r"""(src|href)\s*=|url\(|@import""", page)
    assert page.count("<svg") == len(found.charts) == 3
    assert "&lt;script&gt;alert(" in page
    for name, value in found.metrics.items():
        assert f"<b>{value:.4f}</b><span>{name}</span>" in page
    assert "BertForSequenceClassification" in page


def test_markdown_tables_hold_any_text(found):
    text = found.to_markdown()
    rows = [line for line in text.splitlines() if "alert" in line]
    assert rows
    for row in rows:
        assert "<script" not in row
        assert len(re.findall(r"(?<!\\)\|", row)) == 5, "four cells"
    assert "![" not in text
    assert f"| `accuracy` | {found.metrics['accuracy']:.4f} |" in text


def test_charts_are_whole_svg_and_escaped(found):
    charts = [
        *found.charts,
        BarChart("t", "", [EVIL, "b" * 90], {"one": [0.0, 1.0], "two": [0.5, 0.25]}),
        MatrixChart("t", "", ["a" * 40, EVIL, "c"], [[3, 0, 1], [0, 0, 0], [9, 9, 9]]),
        Histogram("t", "", [0.0, 1.0, 2.0], [0, 0], "x"),
        LineChart("t", "", [1.0], {EVIL: [2.0]}, "x", "y"),
        LineChart("t", "", [0.0, 1.0, 2.0], {"a": [1.0, None, 3.0], "b": [0.0, 0.0, 0.0]}, "x", "y", diagonal=True),
    ]
    for chart in charts:
        drawn = ET.fromstring(chart.svg())
        width, height = float(drawn.get("width")), float(drawn.get("height"))
        for box in drawn.iter("{http://www.w3.org/2000/svg}rect"):
            x, y, w, h = (float(box.get(name, 0)) for name in ("x", "y", "width", "height"))
            assert -1 <= x <= x + w <= width + 1
            assert -1 <= y <= y + h <= height + 1


def test_bars_are_as_long_as_their_values():
    drawn = ET.fromstring(BarChart("t", "", ["a", "b"], {"one": [0.25, 0.5]}).svg())
    boxes = [
        box
        for box in drawn.iter("{http://www.w3.org/2000/svg}rect")
        if box.find("{http://www.w3.org/2000/svg}title") is not None
    ]
    widths = [float(box.get("width")) for box in boxes]
    assert widths[1] == pytest.approx(2 * widths[0], abs=0.2)
    assert boxes[0][0].text == "a, one: 0.2500"


def test_a_number_that_is_none():
    empty = Evaluation(
        "t", "m", "d", 1, 0.1, {"x": math.nan, "y": math.inf, "z": 1e-9}, [], {}, [], [Table("e", ("a",), [])], []
    )
    assert empty.to_dict()["metrics"] == {"x": None, "y": None, "z": 1e-9}
    assert "| `x` | undefined |" in empty.to_markdown()
    assert "1e-09" in empty.to_markdown()
    assert "undefined" in empty.to_html()
    assert repr(empty) == "Evaluation(t, 1 examples: x=undefined, y=inf, z=1e-09)"


def test_a_place_that_cannot_be_written(found, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SaveError, match="The report cannot be written to"):
        found.save(tmp_path / "file")
