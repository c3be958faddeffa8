"""A model takes a kernel for all layers or for some, when it is loaded, live or through its configuration, or refuses and stays."""

import pytest
import torch
from transept_testing.kernel_masks import reference

from transept import AutoModelForCausalLM, Gemma2Config, Gemma2ForCausalLM, LlamaConfig, LlamaForCausalLM
from transept.attention import Attention, MaskSpec
from transept.errors import AttentionError, InputError, PluginNotFoundError

CONFIG = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}
BATCH = {
    "input_ids": torch.tensor([[0, 0, 5, 6, 7, 8], [9, 10, 11, 12, 13, 14]]),
    "attention_mask": torch.tensor([[0, 0, 1, 1, 1, 1], [1] * 6]),
}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**CONFIG)).eval()


def bindings(model):
    return [binding.implementation for _, binding in model.attention_layers()]


def served(model):
    return [binding.explain().kernel for _, binding in model.attention_layers()]


@torch.no_grad()
@pytest.mark.parametrize("kernel", ["sdpa", "flex_attention", "paged"])
def test_every_kernel_gives_the_same_logits_and_text(model, kernel):
    model.set_attention("eager")
    expected, text = model(**BATCH).logits, model.generate(**BATCH, max_new_tokens=8, do_sample=False)
    model.set_attention(kernel)
    keep = BATCH["attention_mask"].bool()
    torch.testing.assert_close(model(**BATCH).logits[keep], expected[keep], atol=1e-5, rtol=1e-5)
    assert torch.equal(model.generate(**BATCH, max_new_tokens=8, do_sample=False), text)
    assert served(model) == [kernel] * 3


@torch.no_grad()
def test_a_pattern_chooses_for_the_layers_that_it_matches(model, tmp_path):
    expected = model(**BATCH).logits
    choice = {"*.0.*": "eager", "*.2.*": "flex_attention"}
    model.set_attention(choice)
    assert bindings(model) == ["eager", "auto", "flex_attention"]
    keep = BATCH["attention_mask"].bool()
    torch.testing.assert_close(model(**BATCH).logits[keep], expected[keep], atol=1e-5, rtol=1e-5)
    assert served(model) == ["eager", "sdpa", "flex_attention"]
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation=choice)
    assert bindings(loaded) == ["eager", "auto", "flex_attention"]
    assert bindings(AutoModelForCausalLM.from_pretrained(tmp_path)) == ["auto"] * 3  # it is no part of a checkpoint


@torch.no_grad()
def test_the_configuration_is_followed_at_the_next_forward(model):
    model.config.attn_implementation = {"*.1.*": "eager"}
    assert bindings(model) == ["auto"] * 3
    model(**BATCH)
    assert bindings(model) == ["auto", "eager", "auto"]
    model.config.attn_implementation = None
    model(**BATCH)
    assert bindings(model) == ["auto"] * 3


@torch.no_grad()
@pytest.mark.skipif(torch.cuda.is_available(), reason="what is refused here is served on a GPU")
@pytest.mark.parametrize(
    ("choice", "error", "words"),
    [
        ("flash_attention_2", AttentionError, "cannot run here"),
        ("flash_attention_9", PluginNotFoundError, "flash_attention_9"),
        ({"*.0.*": "eager", "*.2.*": "flash_attention_2"}, AttentionError, "cannot run here"),
        ({"*.0.*": "eager", "*.7.*": "sdpa"}, AttentionError, r"\*\.7\.\*"),
    ],
    ids=str,
)
def test_a_refusal_leaves_the_model_as_it_was(model, choice, error, words):
    before = {"*.0.*": "sdpa", "*.1.*": "eager"}
    model.set_attention(before)
    expected = model(**BATCH).logits
    with pytest.raises(error, match=words):
        model.set_attention(choice)
    assert model.config.attn_implementation == before
    assert bindings(model) == ["sdpa", "eager", "auto"]
    assert torch.equal(model(**BATCH).logits, expected)
    model.config.attn_implementation = choice
    for _ in range(2):
        with pytest.raises(error, match=words):
            model(**BATCH)
        assert bindings(model) == ["sdpa", "eager", "auto"]
    model.config.attn_implementation = before
    assert torch.equal(model(**BATCH).logits, expected)


@torch.no_grad()
def test_a_need_of_one_call_is_refused_by_name_and_the_next_call_goes_on(model):
    model.set_attention("sdpa")
    expected = model(**BATCH).logits
    with pytest.raises(AttentionError, match="weights") as caught:
        model(**BATCH, output_attentions=True)
    assert "eager" in caught.value.able
    assert torch.equal(model(**BATCH).logits, expected)
    model.set_attention("auto")
    assert model(**BATCH, output_attentions=True).attentions is not None
    assert served(model) == ["eager"] * 3


@torch.no_grad()
@pytest.mark.parametrize("kernel", ["eager", "sdpa", "flex_attention"])
def test_a_prompt_in_pieces_is_the_prompt(model, kernel, monkeypatch):
    from transept.attention import sdpa

    monkeypatch.setattr(sdpa, "_LARGE", 8)  # runs, however short the prompt
    monkeypatch.setattr(sdpa, "_run", lambda mask: 3)
    model.set_attention(kernel)
    ids = torch.arange(1, 24)[None]
    whole = model(input_ids=ids).logits
    cache, pieces = None, []
    for piece in ids.split([7, 1, 9, 6], 1):
        output = model(input_ids=piece, past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        pieces.append(output.logits)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, atol=1e-5, rtol=1e-5)


def gemma2():
    torch.manual_seed(0)
    return Gemma2ForCausalLM(Gemma2Config(**CONFIG, head_dim=8, sliding_window=4)).eval()


@torch.no_grad()
def test_a_softcap_refuses_before_the_first_call(tmp_path):
    model = gemma2()
    with pytest.raises(AttentionError, match=r"`sdpa`.*lacks a `softcap`"):
        model.set_attention("sdpa")
    assert bindings(model) == ["auto"] * 3
    model.set_attention({"*.1.*": "flex_attention"})
    with pytest.raises(AttentionError, match=r"`sdpa`.*lacks a `softcap`"):
        model.set_attention({"*.0.*": "eager", "*.2.*": "sdpa"})
    assert bindings(model) == ["auto", "flex_attention", "auto"]
    model.save_pretrained(tmp_path)
    with pytest.raises(AttentionError, match=r"`sdpa`.*lacks a `softcap`"):
        AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="sdpa")


@torch.no_grad()
def test_a_choice_that_is_changed_in_place_is_followed(model):
    choice = {"*.0.*": "eager"}
    model.set_attention(choice)
    model.config.attn_implementation["*.2.*"] = "sdpa"
    model(**BATCH)
    assert bindings(model) == ["eager", "auto", "sdpa"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("flash_attention_9", r"Did you mean `flash_attention_\d`.*Installed: .*`eager`.*`flex_attention`.*`sdpa`"),
        ("owner/kernel", r"Installed: .*`eager`.*`flex_attention`.*`sdpa`"),
        ("", r"attention kernel ''.*Installed: .*`eager`"),
    ],
    ids=["near", "a repository", "empty"],
)
def test_an_unknown_name_is_told_what_is_installed(model, name, words):
    with pytest.raises(PluginNotFoundError, match=words):
        model.set_attention(name)
    assert bindings(model) == ["auto"] * 3


@torch.no_grad()
@pytest.mark.parametrize("kernel", ["auto", "eager", "sdpa", "flex_attention", "paged"])
@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (torch.ones(2, 5), r"shape \(2, 5\).*needs \(2, 6\)"),
        (torch.ones(3, 6), r"shape \(3, 6\).*needs \(2, 6\)"),
        (torch.ones(2, 6, 6), r"\(2, 6, 6\).*here \(2, 1, 6, 6\)"),
        (torch.zeros(2, 1, 6, 5), r"\(2, 1, 6, 5\).*here \(2, 1, 6, 6\)"),
        (torch.zeros(2, 2, 6, 6), "for 2 heads, and there are 4"),
        (torch.zeros(2, 1, 6, 6, dtype=torch.long), "bool or float, not torch.int64"),
        (torch.full((2, 6), -1.0), "negative numbers"),
    ],
    ids=["short", "rows", "three dimensions", "keys", "heads", "integers", "added"],
)
def test_a_mask_of_another_shape_or_type_is_refused(model, kernel, mask, words):
    model.set_attention(kernel)
    with pytest.raises(InputError, match=words):
        model(input_ids=BATCH["input_ids"], attention_mask=mask)


@torch.no_grad()
@pytest.mark.parametrize("kernel", ["eager", "sdpa", "flex_attention", "paged"])
def test_a_mask_of_whole_squares_is_the_mask_of_tokens(model, kernel):
    """Bool, added in the model's dtype and in others: the same logits, and nothing that is not finite in half precision."""
    model.set_attention(kernel)
    keep = BATCH["attention_mask"].bool()
    seen = torch.ones(6, 6, dtype=torch.bool).tril() & keep[:, None, None]
    positions = (BATCH["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.05), (torch.float16, 0.01)):
        model.to(dtype)
        expected = model(**BATCH).logits
        assert torch.isfinite(expected).all()
        for given in (torch.bool, torch.float32, torch.bfloat16, torch.float16):
            whole = (
                seen if given == torch.bool else torch.zeros(seen.shape, dtype=given).masked_fill(~seen, torch.finfo(given).min)
            )
            found = model(input_ids=BATCH["input_ids"], attention_mask=whole, position_ids=positions).logits
            torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("kernel", ["eager", "sdpa", "flex_attention", "paged"])
@pytest.mark.parametrize("queries", [1, 40])
def test_a_bias_counts_as_precisely_as_it_came(kernel, dtype, queries):
    """As of ALiBi or relative positions, in float32 beside half-precision states: rounded to these, it would be far off."""
    generator = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(1, count, length, 16, generator=generator).to(dtype) for count, length in ((4, queries), (2, 40), (2, 40))
    )
    mask = MaskSpec.causal(queries, 40, bias=50 * torch.randn(1, 4, queries, 40, generator=generator))
    found, _ = Attention(kernel)(query, key, value, mask=mask)
    torch.testing.assert_close(found.double(), reference(query, key, value, mask), atol=0.03, rtol=0.03)
