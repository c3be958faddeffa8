"""A plugin's class neither drops nor replaces a standard test in silence, and what it lists as failing fails."""

import os
import sys

import pytest
from transept_testing import ConfigConformance, ModelConformance
from transept_testing.standard import standard_tests

pytest_plugins = ["pytester"]


@pytest.fixture
def run(pytester, toy_site, monkeypatch):
    """Run pytest in a process of its own, with the toy family installed."""
    path = os.pathsep.join([str(toy_site), *(each for each in sys.path if each)])
    monkeypatch.setenv("PYTHONPATH", path)

    def run(code, *arguments):
        pytester.makepyfile(code)
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:xdist", *arguments)

    return run


def test_a_replaced_test_is_refused():
    with pytest.raises(TypeError, match="`TestX` replaces the standard test `test_outputs_are_finite`"):

        class TestX(ModelConformance):
            def test_outputs_are_finite(self, case):
                pass


def test_a_test_that_is_dropped_is_refused():
    with pytest.raises(TypeError, match="`test_json_and_back`"):

        class TestX(ConfigConformance):
            test_json_and_back = None


def test_a_mixin_hides_no_test():
    class Quiet:
        def test_json_and_back(self):
            pass

    with pytest.raises(TypeError, match="`test_json_and_back`"):

        class TestX(Quiet, ConfigConformance):
            pass


def test_an_override_that_says_why_is_taken():
    class TestX(ConfigConformance):
        @pytest.mark.xfail(reason="the parrot cannot write")
        def test_json_and_back(self, variant, tmp_path):
            super().test_json_and_back(variant, tmp_path)

    assert "test_json_and_back" in standard_tests(TestX)
    with pytest.raises(TypeError, match="say why"):

        class TestY(ConfigConformance):
            @pytest.mark.xfail
            def test_json_and_back(self, variant, tmp_path):
                pass


def test_further_tests_are_ones_own():
    class TestX(ConfigConformance):
        def test_of_ones_own(self):
            pass

    assert "test_of_ones_own" not in standard_tests(TestX)


@pytest.mark.parametrize(
    ("xfails", "words"),
    [
        ({"test_json_and_bakc": "x"}, "Did you mean `test_json_and_back`"),
        ({"test_json_and_back": " "}, "gives no reason"),
        ({"test_json_and_back[tiny]": ""}, "gives no reason"),
    ],
    ids=["no such test", "no reason", "no reason for a case"],
)
def test_a_wrong_list_of_failures_is_refused(xfails, words):
    with pytest.raises(TypeError, match=words):
        type("TestX", (ConfigConformance,), {"xfails": xfails})


@pytest.mark.slow
def test_listed_failures_are_expected_and_must_happen(run):
    result = run(
        """
        from transept_testing import ConfigConformance

        class TestWritten(ConfigConformance):
            model_type = "toy"
            tiny = {"vocab_size": 99}
            xfails = {"test_a_wrong_type_is_refused": "it is refused", "test_a_dict_and_back[tiny]": "it goes back"}

        class TestBroken(ConfigConformance):
            model_type = "toy"
            tiny = {"vocab_size": 99}
            not_compared = None
            xfails = {"test_json_and_back[tiny]": "the variant breaks it"}

            def config(self, variant="tiny", **changes):
                raise AssertionError("broken")
        """,
        "-rX",
        "-k",
        "json or wrong_type or dict_and",
    )
    # of the first class two are listed that pass, so they fail; of the second one fails as listed
    result.assert_outcomes(passed=1, failed=4, xfailed=1)
    result.stdout.fnmatch_lines(["*XPASS(strict)*"])


@pytest.mark.slow
def test_each_class_and_shape_is_a_case_of_its_own(run):
    result = run(
        """
        from transept_testing import CausalLMConformance

        class TestToy(CausalLMConformance):
            model_type = "toy"
            tiny = {"vocab_size": 99}
            variants = {"wide": {"hidden_size": 64}}
        """,
        "--collect-only",
        "-q",
    )
    ids = [line.partition("::test_")[2] for line in result.outlines if "::" in line]
    assert {f"outputs_are_finite[{task}{shape}]" for task in ("base", "causal_lm") for shape in ("", "-wide")} <= set(ids)
    assert "the_vocabulary_grows_and_shrinks[sequence_classification-wide]" in ids
    assert "another_number_of_labels[sequence_classification]" in ids
    assert "another_number_of_labels[base]" not in ids
    assert len(ids) == len(set(ids))
