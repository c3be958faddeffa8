"""torch's own kernel, compiled for the CPU, gives what the reference gives; and torch's uncompiled one does with our functions."""

import warnings

import pytest
import torch
from torch.nn.attention.flex_attention import flex_attention
from transept_flex import kernel
from transept_flex.blocks import block_mask
from transept_flex.mods import mask_mod, score_mod
from transept_testing.kernel_masks import reference

from transept.attention import Attention, MaskSpec

compiles = pytest.mark.skipif(not kernel._cpu_compiles(), reason="flex attention takes AVX2, Linux and a C++ compiler")
KEEP = torch.arange(300) >= torch.tensor([[40], [0]])
MASKS = {
    "causal": MaskSpec.causal(300),
    "encoder": MaskSpec.bidirectional(300, keep=KEEP),
    "padded window": MaskSpec.causal(200, 300, keep=KEEP, sliding_window=50),
    "prefix of documents": MaskSpec(
        "prefix", 300, 300, prefix_length=torch.tensor([7, 150]), documents=torch.arange(300).expand(2, -1) // 97
    ),
    "bias": MaskSpec.causal(300, bias=torch.randn(1, 4, 300, 300)),
    "nothing seen": MaskSpec.causal(300, keep=(torch.arange(300) > 280).expand(2, -1)),
}


def tensors(mask, dtype=torch.float32):
    torch.manual_seed(0)
    shapes = (4, mask.query_length), (2, mask.key_length), (2, mask.key_length)
    return [torch.randn(2, heads, length, 32, dtype=dtype) for heads, length in shapes]


@pytest.fixture
def fused(monkeypatch):
    """Requests of any size are compiled; how often is counted."""
    calls = []
    compiled = kernel._compiled

    def counted(form, dynamic):
        calls.append(form)
        return compiled(form, dynamic)

    monkeypatch.setattr(kernel, "WORTH_COMPILING", 0)
    monkeypatch.setattr(kernel, "_compiled", counted)
    torch._dynamo.reset()
    return calls


@compiles
@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("name", [name for name in MASKS if name != "causal"])
def test_compiled_it_is_the_same(name, fused):
    mask = MASKS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for softcap in (None, 2.0) if name == "padded window" else (None,):
            inputs = tensors(mask)
            found, _ = Attention("flex_attention")(*inputs, mask=mask, softcap=softcap)
            torch.testing.assert_close(found, reference(*inputs, mask, softcap=softcap).float(), atol=2e-5, rtol=2e-5)
    assert fused


@compiles
@pytest.mark.slow
@torch.no_grad()
def test_half_precision_is_compiled(fused):
    mask = MASKS["padded window"]
    inputs = tensors(mask, torch.bfloat16)
    found, _ = Attention("flex_attention")(*inputs, mask=mask)
    torch.testing.assert_close(found.double(), reference(*inputs, mask), atol=3e-2, rtol=3e-2)
    assert fused


@compiles
@pytest.mark.slow
@torch.no_grad()
def test_other_lengths_are_compiled_a_few_times_only(fused):
    from torch._dynamo.utils import counters

    counters.clear()
    for length in (130, 200, 257, 300, 301, 333):
        mask = MaskSpec.causal(length)
        inputs = tensors(mask)
        found, _ = Attention("flex_attention")(*inputs, mask=mask)
        torch.testing.assert_close(found, reference(*inputs, mask).float(), atol=2e-5, rtol=2e-5)
    assert counters["stats"]["unique_graphs"] <= 3


@torch.no_grad()
def test_torchs_uncompiled_kernel_reads_our_functions():
    for mask in (MASKS["padded window"], MASKS["nothing seen"]):
        query, key, value = tensors(mask)
        mod = mask_mod(mask, query.device)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = flex_attention(
                query, key, value, score_mod(3.0, None), block_mask(mask, mod, query.device), enable_gqa=True
            )
        torch.testing.assert_close(found, reference(query, key, value, mask, softcap=3.0).float(), atol=2e-5, rtol=2e-5)


@torch.no_grad()
def test_sinks_beside_a_compiled_sum_are_the_references(monkeypatch):
    """What a GPU would be given: torch's output and the logarithm of its sum, here from torch's uncompiled kernel."""
    monkeypatch.setattr(kernel, "_is_fused", lambda *_: True)
    monkeypatch.setattr(kernel, "_compiled", lambda form, dynamic: flex_attention)
    sinks = torch.tensor([0.5, -1.0, 2.0, 0.0])
    for mask in (MASKS["padded window"], MASKS["nothing seen"]):
        inputs = tensors(mask)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found, _ = Attention("flex_attention")(*inputs, mask=mask, sinks=sinks)
        torch.testing.assert_close(found, reference(*inputs, mask, sinks=sinks).float(), atol=2e-5, rtol=2e-5)


@torch.no_grad()
def test_what_does_not_compile_is_told_once_and_served_all_the_same(monkeypatch):
    class InductorError(RuntimeError):
        __module__ = "torch._inductor.exc"

    def broken(*args, **options):
        raise InductorError("no header\nand more")

    monkeypatch.setattr(kernel, "_is_fused", lambda *_: True)
    monkeypatch.setattr(kernel, "_compiled", lambda form, dynamic: broken)
    monkeypatch.setattr(kernel, "_given_up", set())
    monkeypatch.setattr(kernel, "_static", set())
    mask = MASKS["causal"]
    inputs = tensors(mask)
    attention = Attention("flex_attention")
    with pytest.warns(RuntimeWarning, match="holds their scores from now on: InductorError: no header$"):
        found, _ = attention(*inputs, mask=mask)
    torch.testing.assert_close(found, reference(*inputs, mask).float(), atol=2e-5, rtol=2e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attention(*inputs, mask=mask)


@torch.no_grad()
def test_small_requests_gradients_and_float64_are_not_compiled(monkeypatch):
    monkeypatch.setattr(kernel, "_compiled", lambda form, dynamic: pytest.fail("it compiles"))
    small, large = MaskSpec.causal(8), MaskSpec.causal(512)
    Attention("flex_attention")(*tensors(small), mask=small)
    Attention("flex_attention")(*tensors(large, torch.float64), mask=large)
    with torch.enable_grad():
        found, _ = Attention("flex_attention")(*(each.requires_grad_() for each in tensors(large)), mask=large)
        found.sum().backward()
