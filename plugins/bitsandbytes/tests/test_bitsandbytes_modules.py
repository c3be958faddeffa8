"""The library's own modules, filled bit for bit as it fills them, and kept from what it does to them in a call."""

import copy

import bitsandbytes as bnb
import pytest
import torch
from transept_bitsandbytes.packing import pack_4bit, pack_8bit

from transept import AutoModelForCausalLM, AutoModelForSequenceClassification, BitsAndBytesConfig
from transept.errors import QuantizationError
from transept.rewrite import saved_tensors

NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
IDS = torch.arange(3, 12)[None]


def load(folder, kind=AutoModelForCausalLM, **settings):
    options = {name: settings.pop(name) for name in ("dtype",) if name in settings}
    return kind.from_pretrained(folder, quantization_config=BitsAndBytesConfig(**settings), **options)


def logits(model, ids=IDS):
    with torch.no_grad():
        return model(input_ids=ids).logits


@pytest.mark.parametrize("shape", [(3, 5), (40, 40), (48, 64), (1030, 1040)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("double", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("quant_type", ["nf4", "fp4"])
def test_packing_in_parts_is_packing_at_once(shape, dtype, double, quant_type):
    weight = torch.randn(shape).to(dtype)
    whole, state = bnb.functional.quantize_4bit(weight, quant_type=quant_type, compress_statistics=double)
    found = pack_4bit(weight, quant_type, double, torch.uint8)
    assert type(found) is bnb.nn.Params4bit
    assert torch.equal(found.data, whole)
    for name, part in state.as_dict(packed=True).items():
        assert torch.equal(found.quant_state.as_dict(packed=True)[name], part), name
    assert torch.equal(
        bnb.functional.dequantize_4bit(found.data, found.quant_state), bnb.functional.dequantize_4bit(whole, state)
    )


@pytest.mark.parametrize("shape", [(3, 5), (1030, 1040)], ids=str)
def test_rows_in_parts_are_rows_at_once(shape):
    weight = torch.randn(shape)
    whole = bnb.nn.Int8Params(weight.clone(), requires_grad=False, has_fp16_weights=False).to("cpu")
    found = pack_8bit(weight)
    assert torch.equal(found.data, whole.data)
    assert torch.equal(found.SCB, whole.SCB)


def test_layers_are_the_librarys_own(llama_folder):
    four, eight = load(llama_folder, **NF4), load(llama_folder, load_in_8bit=True)
    assert four.is_loaded_in_4bit
    assert not four.is_loaded_in_8bit
    assert eight.is_loaded_in_8bit
    for model, kind, parameter in (
        (four, bnb.nn.Linear4bit, bnb.nn.Params4bit),
        (eight, bnb.nn.Linear8bitLt, bnb.nn.Int8Params),
    ):
        layer = model.model.layers[0].mlp.up_proj
        assert type(layer) is kind
        assert type(layer.weight) is parameter
        assert not isinstance(model.lm_head, kind)
        assert not layer.weight.requires_grad
        assert (layer.in_features, layer.out_features) == (64, 128)


def test_a_call_leaves_packed_weights_as_they_are(llama_folder):
    """Where the CPU multiplies bfloat16 the library would repack them at the first call, which cannot be undone."""
    for settings in (NF4, {**NF4, "bnb_4bit_use_double_quant": True}, {"load_in_8bit": True}):
        model = load(llama_folder, **settings)
        before = {name: copy.deepcopy(tensor) for name, tensor in saved_tensors(model)[0].items()}
        logits(model)
        after = saved_tensors(model)[0]
        assert list(after) == list(before)
        for name, tensor in before.items():
            assert torch.equal(after[name], tensor), name


def test_the_compute_dtype_is_what_is_computed_in(llama_folder):
    seen = []
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        model = load(llama_folder, **NF4, bnb_4bit_compute_dtype=dtype)
        assert model.model.layers[0].mlp.up_proj.compute_dtype == dtype
        found = logits(model)
        assert found.dtype == torch.float32
        seen.append(found)
    exact = logits(load(llama_folder, **NF4).dequantize())
    assert torch.allclose(seen[0], exact, atol=1e-5)
    for found, limit in zip(seen[1:], (0.05, 0.01), strict=True):
        assert 0 < (found - exact).norm() / exact.norm() < limit


@pytest.mark.parametrize("settings", [NF4, {"load_in_8bit": True}], ids=["nf4", "8 bits"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_runs_on_a_cpu(settings, dtype, llama_folder):
    compute = {"bnb_4bit_compute_dtype": dtype} if "load_in_4bit" in settings else {}
    model = load(llama_folder, **settings, **compute, dtype=dtype)
    found, plain = logits(model), logits(AutoModelForCausalLM.from_pretrained(llama_folder))
    assert found.dtype == dtype
    assert (found.float() - plain).norm() / plain.norm() < 0.5
    text = model.generate(IDS, max_new_tokens=4, pad_token_id=0)
    assert text.shape[1] > IDS.shape[1]
    model.dequantize()
    assert model.model.layers[0].mlp.up_proj.weight.dtype == dtype
    assert logits(model).dtype == dtype


def test_another_compute_dtype_is_a_matter_of_loading(llama_folder, tmp_path):
    load(llama_folder, **NF4).save_pretrained(tmp_path)
    model = load(tmp_path, **NF4, bnb_4bit_compute_dtype="bfloat16")
    assert model.model.layers[0].mlp.up_proj.compute_dtype == torch.bfloat16
    assert model.config.quantization_config.bnb_4bit_compute_dtype == torch.bfloat16


def test_a_head_that_starts_anew_is_not_packed(bert_folder, tmp_path):
    """The peer's 8-bit classifier fails on a CPU where the checkpoint has no head."""
    for settings in ({"load_in_8bit": True}, NF4):
        with pytest.warns(UserWarning, match="classifier.*drawn at random"):
            model = load(bert_folder, AutoModelForSequenceClassification, **settings)
        assert not isinstance(model.classifier, bnb.nn.Linear4bit | bnb.nn.Linear8bitLt)
        assert isinstance(model.bert.encoder.layer[0].output.dense, bnb.nn.Linear4bit | bnb.nn.Linear8bitLt)
        assert logits(model).shape == (1, 3)
        assert "classifier" in model.config.quantization_config.llm_int8_skip_modules
        model.save_pretrained(tmp_path)
        again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
        assert torch.equal(logits(again), logits(model))


def test_weights_may_stay_floats(llama_folder, tmp_path):
    model = load(llama_folder, load_in_8bit=True, llm_int8_has_fp16_weight=True)
    layer = model.model.layers[0].mlp.up_proj
    assert layer.weight.is_floating_point()
    assert not layer.weight.requires_grad
    plain = AutoModelForCausalLM.from_pretrained(llama_folder)
    assert torch.equal(layer.weight, plain.model.layers[0].mlp.up_proj.weight)
    assert (logits(model) - logits(plain)).norm() < 0.05 * logits(plain).norm()
    hidden = torch.randn(2, 3, 64, requires_grad=True)
    for training in (True, False):
        layer.train(training)(hidden).sum().backward()
    assert hidden.grad.abs().max() > 0
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(again.model.layers[0].mlp.up_proj.weight, layer.weight)
    assert type(again.model.layers[0].mlp.up_proj) is bnb.nn.Linear8bitLt
    assert torch.equal(logits(again), logits(load(llama_folder, load_in_8bit=True, llm_int8_has_fp16_weight=True)))


def test_outliers_are_computed_apart(llama_folder):
    """With a threshold below every input all columns are: what is left of the rounding is that of the weights."""
    exact = logits(load(llama_folder, load_in_8bit=True).dequantize())
    apart, together = (logits(load(llama_folder, load_in_8bit=True, llm_int8_threshold=value)) for value in (1e-6, 0.0))
    assert (apart - exact).norm() < 0.2 * (together - exact).norm()


def test_a_repacked_layer_is_not_saved(llama_folder, tmp_path):
    if not bnb.functional.has_avx512bf16():
        pytest.skip("this CPU does not multiply bfloat16")
    model = load(llama_folder, **NF4)
    for module in model.modules():
        module.support_avx512bf16_for_cpu = True
    plain = logits(AutoModelForCausalLM.from_pretrained(llama_folder))
    assert (logits(model) - plain).norm() < 0.5 * plain.norm()
    with pytest.raises(QuantizationError, match="load the model anew"):
        model.save_pretrained(tmp_path)
