"""Kernels that do not do what their record says fail the checks that are for it."""

import sys
import types

import pytest
import torch
from torch.autograd.gradcheck import GradcheckError
from transept_testing import AttentionKernelConformance

from transept.attention import MaskSpec
from transept.attention.eager import eager_attention
from transept.discovery import registry
from transept_hookspecs import AttentionKernelSpec, hookimpl

EVERY = frozenset({"causal", "bidirectional", "prefix", "sliding_window", "chunk", "keep", "documents", "bias"})


def without(**changes):
    """The reference, with parts of the mask left out."""

    def kernel(query, key, value, *, mask, **options):
        plain = {"kind": mask.kind, "prefix_length": mask.prefix_length, "query_offset": mask.query_offset}
        for name in ("sliding_window", "chunk", "keep", "documents", "bias"):
            plain[name] = getattr(mask, name)
        return eager_attention(
            query,
            key,
            value,
            mask=MaskSpec(query_length=mask.query_length, key_length=mask.key_length, **{**plain, **changes}),
            **options,
        )

    return kernel


def softmax_over_nothing(query, key, value, *, mask, **options):
    seen = mask.materialize("cpu")
    scores = query @ key.repeat_interleave(query.shape[1] // key.shape[1], 1).transpose(-1, -2) * query.shape[-1] ** -0.5
    scores = scores if seen is None else scores.masked_fill(~seen, -torch.inf)
    return scores.softmax(-1) @ value.repeat_interleave(query.shape[1] // key.shape[1], 1), None


def detached(query, key, value, **options):
    return eager_attention(query, key.detach(), value, **options)


def forgetful(query, key, value, *, mask, softcap=None, sinks=None, dropout=0.0, need_weights=False, **options):
    return eager_attention(query, key, value, mask=mask, **options)


def writes(query, key, value, **options):
    found = eager_attention(query, key, value, **options)
    query.mul_(2)
    return found


@pytest.fixture
def conformance(monkeypatch):
    """The checks for a kernel, which is installed while the test runs."""
    offered = []

    def make(kernel, masks=EVERY, **fields):
        module = types.ModuleType("a_broken_kernel")
        module.kernel = kernel
        monkeypatch.setitem(sys.modules, "a_broken_kernel", module)

        class Plugin:
            @hookimpl
            def provide_attention(self):
                return [AttentionKernelSpec(key="broken", kernel="a_broken_kernel:kernel", masks=masks, priority=-99, **fields)]

        offered.append(registry.register(Plugin(), "broken"))

        class Broken(AttentionKernelConformance):
            key = "broken"

        return Broken()

    yield make
    for each in offered:
        each.close()


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("sliding_window", None),
        ("chunk", None),
        ("keep", None),
        ("documents", None),
        ("bias", None),
        ("causal", "bidirectional"),
    ],
)
def test_a_part_of_the_mask_that_is_ignored(conformance, kind, part):
    changes = {kind: None} if part is None else {"kind": part}
    checks = conformance(without(**changes))
    with pytest.raises(AssertionError, match=f"`{kind}`, GQA, torch.float32, verify"):
        checks.test_each_mask_in_each_step(kind, "GQA", torch.float32, "verify")


def test_a_window_that_is_one_too_long(conformance):
    def kernel(query, key, value, *, mask, **options):
        window = None if mask.sliding_window is None else mask.sliding_window + 1
        return without(sliding_window=window)(query, key, value, mask=mask, **options)

    checks = conformance(kernel)
    checks.test_a_window_of_five_at_four_five_and_six_tokens(5)
    with pytest.raises(AssertionError, match="sliding_window=5"):
        checks.test_a_window_of_five_at_four_five_and_six_tokens(6)


def test_a_softmax_over_nothing(conformance):
    checks = conformance(softmax_over_nothing)
    with pytest.raises(AssertionError, match="not zeros"):
        checks.test_a_query_that_sees_nothing_gets_zeros(torch.float32)
    with pytest.raises(AssertionError, match="not finite"):
        checks.test_each_mask_in_each_step("keep", "MHA", torch.float32, "prefill")


def test_gradients_that_do_not_flow(conformance):
    checks = conformance(detached)
    with pytest.raises(AssertionError, match="no gradient reaches the key"):
        checks.test_each_mask_in_each_step("causal", "MHA", torch.float32, "train")
    with pytest.raises(GradcheckError):
        checks.test_gradients_are_those_of_the_function("causal")


@pytest.mark.parametrize("promised", ["softcap", "sinks", "dropout", "weights"])
def test_an_option_that_is_ignored(conformance, promised):
    with pytest.raises(pytest.fail.Exception, match="no AttentionError comes"):
        conformance(forgetful).test_what_the_record_lacks_is_refused_by_the_kernel_too()
    checks = conformance(forgetful, **{promised: True})
    check = (
        checks.test_dropout_drops_and_keeps_the_mean
        if promised == "dropout"
        else lambda: checks.test_options_that_the_record_has(torch.float32)
    )
    with pytest.raises(AssertionError):
        check()


def test_inputs_that_are_written_on(conformance):
    with pytest.raises(AssertionError, match="writes on its inputs"):
        conformance(writes).test_inputs_stay_as_they_are()


def test_a_kernel_that_cannot_run_is_told_of_and_not_tested(conformance, monkeypatch):
    checks = conformance(forgetful, requires="a_broken_kernel:requires")
    sys.modules["a_broken_kernel"].requires = lambda: "it wants another machine"
    assert checks.unable() == "it wants another machine"


def test_a_sound_kernel_passes(conformance):
    checks = conformance(eager_attention, softcap=True, sinks=True, weights=True, dropout=True)
    checks.test_each_mask_in_each_step("bias", "MQA", torch.bfloat16, "train")
    checks.test_options_that_the_record_has(torch.float32)
    checks.test_inputs_stay_as_they_are()
