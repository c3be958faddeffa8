"""Which kernel serves a request, who is refused and in which words, and how little a call pays for it."""

import copy
import pickle
import sys
import types
import warnings

import pytest
import torch

from transept.attention import Attention, MaskSpec, dispatch
from transept.discovery import registry
from transept.discovery.known import known_dist
from transept.errors import AttentionError, InputError, PluginImportError, PluginNotFoundError
from transept_hookspecs import AttentionKernelSpec, hookimpl

EVERY = frozenset({"causal", "bidirectional", "prefix", "sliding_window", "chunk", "keep", "documents", "bias"})
CALLS = []


def plain_kernel(query, key, value, **options):
    CALLS.append(options)
    return torch.zeros_like(query), None


def wants_more():
    return "it wants a bigger machine"


def explodes():
    raise RuntimeError("no driver")


@pytest.fixture(autouse=True)
def module(monkeypatch):
    """The module that the records below name."""
    made = types.ModuleType("a_kernel_of_the_tests")
    made.plain_kernel, made.wants_more, made.explodes = plain_kernel, wants_more, explodes
    monkeypatch.setitem(sys.modules, made.__name__, made)
    CALLS.clear()


@pytest.fixture
def offer():
    """Offer a kernel while the test runs."""
    offered = []

    def make(key="mine", *, priority=90, kernel="a_kernel_of_the_tests:plain_kernel", masks=EVERY, **fields):
        class Plugin:
            @hookimpl
            def provide_attention(self):
                return [AttentionKernelSpec(key=key, kernel=kernel, masks=masks, priority=priority, **fields)]

        offered.append(registry.register(Plugin(), key))
        return offered[-1]

    yield make
    for each in offered:
        each.close()


def call(attention, mask=None, heads=(4, 2), head_dim=8, dtype=torch.float32, **options):
    mask = mask or MaskSpec.causal(3)
    query = torch.randn(1, heads[0], mask.query_length, head_dim, dtype=dtype)
    key = torch.randn(1, heads[1], mask.key_length, head_dim, dtype=dtype)
    return attention(query, key, key, mask=mask, **options)


def test_auto_takes_the_highest_priority_that_can(offer):
    attention = Attention()
    call(attention)
    assert attention.explain().kernel == "sdpa"
    call(attention, softcap=2.0)
    assert attention.explain().kernel == "eager"
    offer(priority=90)
    call(Attention())
    assert len(CALLS) == 1


def test_a_binding_outlives_what_is_registered_later(offer):
    attention = Attention()
    call(attention)
    offer()
    call(attention)
    assert not CALLS
    attention.use("auto")
    call(attention)
    assert len(CALLS) == 1


@pytest.mark.parametrize(
    ("fields", "request_", "lacking"),
    [
        ({"masks": frozenset({"causal"})}, {"mask": MaskSpec.bidirectional(3)}, "the mask kind `bidirectional`"),
        ({"masks": frozenset({"causal"})}, {"mask": MaskSpec.causal(3, sliding_window=9)}, "the mask kind `sliding_window`"),
        ({"dtypes": frozenset({"bfloat16"})}, {}, "the dtype float32"),
        ({"devices": frozenset({"cuda"})}, {}, "the device cpu"),
        ({"head_dims": (64, 128)}, {}, "head_dim 8"),
        ({"max_head_dim": 4}, {}, "head_dim 8"),
        ({"gqa": False}, {}, "gqa"),
        ({}, {"dropout": 0.1}, "`dropout`"),
        ({}, {"need_weights": True}, "weights"),
        ({}, {"softcap": 1.0}, "`softcap`"),
        ({}, {"sinks": torch.zeros(4)}, "`sinks`"),
    ],
    ids=str,
)
def test_a_named_kernel_that_cannot_is_refused_in_words(offer, fields, request_, lacking):
    offer(**fields)
    attention = Attention("mine")
    with pytest.raises(AttentionError, match=lacking) as caught:
        call(attention, **request_)
    assert "`mine`" in str(caught.value)
    assert "`eager`" in str(caught.value)
    assert "eager" in caught.value.able
    assert attention.implementation == "mine"
    assert not CALLS
    output, _ = call(Attention(), **request_)
    assert torch.isfinite(output).all()
    assert not CALLS


def test_gradients_are_a_need_only_where_they_are_recorded(offer):
    offer(training=False)
    attention, mask = Attention("mine"), MaskSpec.causal(3)
    query, key = torch.randn(1, 2, 3, 8, requires_grad=True), torch.randn(1, 2, 3, 8)
    with torch.no_grad():
        attention(query, key, key, mask=mask)
    with pytest.raises(AttentionError, match="gradients"):
        attention(query, key, key, mask=mask)
    attention(key, key, key, mask=mask)
    assert len(CALLS) == 2
    with pytest.raises(AttentionError, match="gradients"):  # of a position bias that learns
        attention(key, key, key, mask=MaskSpec.causal(3, bias=torch.zeros(1, 2, 3, 3, requires_grad=True)))


def test_a_refused_call_leaves_the_binding(offer):
    offer()
    attention = Attention("mine")
    call(attention)
    with pytest.raises(AttentionError):
        call(attention, softcap=1.0)
    call(attention)
    assert len(CALLS) == 2


def test_an_unknown_name_says_what_to_install():
    assert known_dist("attention", "flash_attention_2") == "transept-flash"
    with pytest.raises(PluginNotFoundError, match="flash_attention_9"):
        call(Attention("flash_attention_9"))
    attention = Attention("sdpa")
    with pytest.raises(PluginNotFoundError, match="sdpa"):
        attention.use("spda")
    assert attention.implementation == "sdpa"


def test_use_refuses_at_once_what_the_layer_will_need(offer):
    offer(gqa=False)
    offer("able", requires="a_kernel_of_the_tests:wants_more")
    offer("broken", kernel="a_kernel_of_the_tests:no_such_thing")
    attention = Attention("eager")
    attention.use("mine")
    attention.use("eager")
    call(attention, need_weights=True, dropout=0.5)
    for name, error, words in [
        ("mine", AttentionError, "gqa"),
        ("able", AttentionError, "bigger machine"),
        ("broken", PluginImportError, "no_such_thing"),
    ]:
        with pytest.raises(error, match=words):
            attention.use(name)
        assert attention.implementation == "eager"
    attention.use("sdpa")  # neither weights nor dropout belong to the layer
    call(attention)
    assert attention.explain().kernel == "sdpa"


def test_a_broken_kernel_is_passed_over_with_one_warning(offer):
    offer("broken", kernel="a_kernel_of_the_tests:nothing_of_that_name")
    with pytest.warns(RuntimeWarning, match="`broken` is passed over.*nothing_of_that_name"):
        call(Attention())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attention = Attention()
        call(attention)
    assert attention.explain().kernel == "sdpa"
    assert "nothing_of_that_name" in attention.explain().others["broken"]
    with pytest.raises(PluginImportError, match="nothing_of_that_name"):
        call(Attention("broken"))


@pytest.mark.parametrize(("requires", "words"), [("wants_more", "bigger machine"), ("explodes", "RuntimeError: no driver")])
def test_a_kernel_that_cannot_run_here_is_passed_over(offer, requires, words):
    offer(requires=f"a_kernel_of_the_tests:{requires}")
    attention = Attention()
    call(attention)
    assert words in attention.explain().others["mine"]
    with pytest.raises(AttentionError, match=words):
        call(Attention("mine"))


def test_no_kernel_at_all_says_what_each_lacks():
    with registry.isolated() as alone:

        class Plugin:
            @hookimpl
            def provide_attention(self):
                return [AttentionKernelSpec(key="mine", kernel="a_kernel_of_the_tests:plain_kernel", masks=EVERY)]

        alone.register(Plugin(), "mine")
        with pytest.raises(AttentionError, match="`mine` lacks a `softcap`"):
            call(Attention(), softcap=1.0)


def test_layers_of_a_pass_negotiate_once_and_later_passes_never(monkeypatch):
    count = []
    negotiate = dispatch._negotiate
    monkeypatch.setattr(dispatch, "_negotiate", lambda *args: count.append(args) or negotiate(*args))
    layers = [Attention() for _ in range(30)]
    for _ in range(3):
        mask = MaskSpec.causal(3)
        for layer in layers:
            call(layer, mask)
    assert len(count) == 1
    for mask in (MaskSpec.causal(1, 4), MaskSpec.causal(2, 4)):  # a decode step, and one with several tokens
        for layer in layers:
            call(layer, mask)
    assert len(count) == 1
    for _ in range(2):
        mask = MaskSpec.causal(3, keep=torch.tensor([[False, True, True]]))
        for layer in layers:
            call(layer, mask)
        for layer in layers:
            call(layer)
    assert len(count) == 2


def test_explain_before_and_after():
    attention = Attention()
    assert "no request" in attention.explain().why
    call(attention, need_weights=True)
    said = attention.explain()
    assert said.kernel == "eager"
    assert "weights" in said.others["sdpa"]
    assert "not sdpa: lacks" in str(said)
    named = Attention("eager")
    call(named)
    assert named.explain().why == "asked for by name"


def test_copies_and_pickles_keep_the_name():
    attention = Attention("eager")
    call(attention)
    for twin in (copy.deepcopy(attention), copy.copy(attention), pickle.loads(pickle.dumps(attention))):
        assert twin.implementation == "eager"
        call(twin)
        twin.use("sdpa")
    assert attention.implementation == "eager"


def test_a_mask_for_other_lengths_is_refused():
    query = torch.randn(1, 2, 3, 8)
    for mask in (MaskSpec.causal(2), MaskSpec.causal(3, 4)):
        with pytest.raises(InputError, match="there are 3 and 3"):
            Attention()(query, query, query, mask=mask)


def test_values_of_another_length_than_the_keys_are_refused():
    query, key = torch.randn(1, 2, 1, 8), torch.randn(1, 2, 5, 8)
    with pytest.raises(InputError, match="with 4 values"):
        Attention("sdpa")(query, key, key[:, :, :4], mask=MaskSpec.causal(1, 5))


@pytest.mark.parametrize("name", ["eager", "sdpa"])
@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize("heads", [2, 4])
def test_a_bias_for_other_heads_is_refused(name, queries, heads):
    """With grouped heads and one query, it would fit the rows and heads together."""
    query, key = torch.randn(2, 8, queries, 16), torch.randn(2, 2, 5, 16)
    for bias in (torch.zeros(2, heads, queries, 5), torch.zeros(heads, queries, 5)):
        with pytest.raises(InputError, match=f"for {heads} heads, and there are 8"):
            Attention(name)(query, key, key, mask=MaskSpec.causal(queries, 5, bias=bias))


def test_a_layer_with_a_softcap_refuses_before_its_first_request():
    attention = Attention(softcap=True)
    for each in (attention, copy.deepcopy(attention), pickle.loads(pickle.dumps(attention))):
        with pytest.raises(AttentionError, match="`sdpa` cannot serve this layer: it lacks a `softcap`"):
            each.use("sdpa")
        assert each.implementation == "auto"
        each.use("eager")


def test_a_kernel_called_by_hand_ignores_nothing():
    from transept.attention.sdpa import sdpa_attention

    query = torch.randn(1, 2, 3, 8)
    for options in ({"softcap": 1.0}, {"sinks": torch.zeros(2)}, {"need_weights": True}):
        with pytest.raises(AttentionError, match="eager"):
            sdpa_attention(query, query, query, mask=MaskSpec.causal(3), **options)


@pytest.mark.parametrize(
    "parts",
    [
        {"keep": torch.ones(3, 4, dtype=torch.bool)},
        {"documents": torch.zeros(3, 4, dtype=torch.long)},
        {"bias": torch.zeros(3, 1, 4, 4)},
        {"kind": "prefix", "prefix_length": torch.ones(3, dtype=torch.long)},
    ],
    ids=lambda parts: list(parts)[-1],
)
def test_a_mask_for_another_batch_is_refused(parts):
    query = torch.randn(2, 2, 4, 8)
    parts = {"kind": "causal", **parts}
    mask = MaskSpec(query_length=4, key_length=4, **parts)
    with pytest.raises(InputError, match="for 3 sequences, and there are 2"):
        Attention()(query, query, query, mask=mask)
    one = MaskSpec(
        query_length=4, key_length=4, **{name: tensor[:1] if name != "kind" else tensor for name, tensor in parts.items()}
    )
    assert torch.equal(Attention("sdpa")(query, query, query, mask=one)[0].isfinite(), torch.ones_like(query).bool())
