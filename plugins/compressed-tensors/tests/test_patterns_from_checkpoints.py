"""Names and patterns of a checkpoint's settings, read without running a regular expression."""

import re

import pytest
from transept_compressed_tensors.patterns import matches

from transept.errors import QuantizationError

PATHS = [
    "lm_head",
    "model.layers.0.self_attn.q_proj",
    "model.layers.12.self_attn.k_proj",
    "model.layers.3.mlp.gate",
    "model.layers.3.mlp.gate_proj",
    "model.layers.3.mlp.experts.17.down_proj",
    "model.vision_tower.blocks.1.mlp.fc1",
    "visual.merger.mlp.0",
    "modelXlayers",
]
PATTERNS = [
    "re:.*lm_head",
    "re:lm_head$",
    "re:^lm_head$",
    "re:.*self_attn.*",
    "re:.*(q|k|v)_proj",
    "re:.*(?:q|k|v)_proj$",
    r"re:.*mlp\.gate$",
    "re:.*mlp.gate$",
    r"re:model\.layers\.\d+\.mlp\.experts\.\d+\.(gate|up|down)_proj",
    r"re:model\.layers\.\d\.self_attn",
    "re:visual.*",
    "re:.*vision_tower.*",
    "re:model.layers",
    r"re:model\.layers",
    "re:layers",
    "re:.*.layers.3.+gate$",
    "re:(model|visual).*(gate|0)$",
    "re:",
    "re:^$",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_what_is_read_means_what_it_means_as_a_regular_expression(pattern):
    for path in PATHS:
        expected = re.match(pattern.removeprefix("re:"), path) is not None
        assert matches(pattern, path, {"Linear"}) is expected, path


def test_names_and_classes_are_whole():
    assert matches("lm_head", "lm_head", {"Linear"})
    assert not matches("lm_head", "model.lm_head", {"Linear"})
    assert matches("Linear", "lm_head", {"Linear"})
    assert not matches("Embedding", "lm_head", {"Linear"})


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "a{2}",
        "[qkv]_proj",
        "(?!x).*",
        r"(a)\1",
        r"\w+",
        "a??",
        "a**",
        "(a|(b|c))",
        "(ab",
        "a|b",
        "x" * 201,
        "(a|b)" * 6,
        "a\\",
    ],
)
def test_other_expressions_are_refused(pattern):
    with pytest.raises(QuantizationError, match=r"not one that transept reads: .*write the modules' names"):
        matches(f"re:{pattern}", "lm_head", set())


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "pattern", ["re:" + "a*" * 90 + "b$", "re:" + ".*a" * 60 + "b$", "re:" + "(.*a|.*b)" * 5 + ".*" * 70 + "c$"]
)
def test_patterns_that_hang_regular_expressions_do_not_hang(pattern):
    assert not matches(pattern, "a" * 2000, set())
