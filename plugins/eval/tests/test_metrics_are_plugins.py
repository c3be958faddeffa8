"""A stranger's metric is found by name as ours are: in `load_metric`, in `evaluate`, in a trainer's function."""

import subprocess
import sys

import numpy as np
import pytest

import transept
from transept import evaluate, load_metric, make_compute_metrics
from transept.errors import InputError
from transept_hookspecs import MetricSpec, hookimpl

ROWS = [{"text": "the fox", "label": "ham"}, {"text": "the dog", "label": "spam"}, {"text": "anna", "label": "ham"}]


def share_of_ham(predictions, references, *, label=0):
    return {"share_of_ham": float(np.mean(predictions == label)), "true_share": float(np.mean(references == label))}


class Stranger:
    @hookimpl
    def provide_metrics(self):
        return [MetricSpec(key="share_of_ham", metric=f"{__name__}:share_of_ham", inputs="labels", greater_is_better=False)]


@pytest.fixture
def stranger():
    with transept.registry.register(Stranger(), "stranger"):
        yield


def test_by_name_everywhere(stranger, checkpoints):
    metric = load_metric("share_of_ham", label=1)
    assert metric([0, 1, 1], [1, 1, 1]) == {"share_of_ham": pytest.approx(2 / 3), "true_share": 1.0}
    assert metric.greater_is_better is False
    found = evaluate(checkpoints("two"), ROWS, metrics=["share_of_ham", "accuracy"])
    assert found.metrics["true_share"] == pytest.approx(2 / 3)
    assert found.metrics["share_of_ham"] == sum(row["prediction"] == "ham" for row in found.predictions) / 3
    compute = make_compute_metrics("share_of_ham")
    assert compute((np.eye(2), np.array([0, 0]))) == {"share_of_ham": 0.5, "true_share": 1.0}


def test_it_goes_with_its_plugin():
    with pytest.raises(InputError, match="no metric `share_of_ham`"):
        load_metric("share_of_ham")


def test_it_stands_in_the_list_of_plugins(capsys):
    from transept_cli.main import main

    assert main(["plugins", "--kind", "metrics"]) == 0
    assert "rouge\ttransept-eval" in capsys.readouterr().out


def test_reading_the_records_imports_no_torch():
    code = (
        "import sys, transept; from transept.discovery import registry; registry.records('metrics'); registry.get('commands', 'eval'); "
        "assert not {'torch', 'sklearn', 'numpy'} & set(sys.modules), 'imported'; from transept_eval import load_metric, Metric"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
