"""Settings that contradict each other, libraries that are missing or broken, and checkpoints that hold something else."""

import json
import subprocess
import sys
import textwrap

import pytest
import torch
from safetensors.torch import load_file, save_file

from transept import AutoModelForCausalLM, BitsAndBytesConfig
from transept.errors import MissingTensorsError, QuantizationError, TranseptError, UnknownArgumentError

NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"load_in_4bit": True, "load_in_8bit": True}, "choose one"),
        ({"load_in_4bit": True, "bnb_4bit_quant_type": "int4"}, "bnb_4bit_quant_type.*int4"),
        ({"load_in_4bit": True, "bnb_4bit_compute_dtype": "float61"}, "bnb_4bit_compute_dtype.*float32.*float16"),
        ({"load_in_4bit": True, "bnb_4bit_compute_dtype": torch.int8}, "bnb_4bit_compute_dtype"),
        ({"load_in_4bit": True, "bnb_4bit_quant_storage": "int64"}, "bnb_4bit_quant_storage"),
        ({"load_in_8bit": True, "llm_int8_threshold": -1.0}, "llm_int8_threshold"),
        ({"load_in_8bit": True, "llm_int8_skip_modules": "lm_head"}, "llm_int8_skip_modules"),
        ({"load_in_4bit": True, "llm_int8_has_fp16_weight": True}, "load_in_8bit=True"),
    ],
)
def test_settings_are_checked(settings, words):
    with pytest.raises(QuantizationError, match=words):
        BitsAndBytesConfig(**settings)


def test_unknown_settings_have_a_hint():
    with pytest.raises(UnknownArgumentError, match="Did you mean `load_in_4bit`"):
        BitsAndBytesConfig(load_in_4bits=True)


def test_the_offload_switch_says_that_it_changes_nothing():
    with pytest.warns(UserWarning, match="changes nothing"):
        BitsAndBytesConfig(load_in_8bit=True, llm_int8_enable_fp32_cpu_offload=True)


def test_settings_that_ask_for_nothing(llama_folder):
    with pytest.raises(QuantizationError, match="load_in_4bit=True"):
        AutoModelForCausalLM.from_pretrained(llama_folder, quantization_config=BitsAndBytesConfig())


def test_float64_is_refused_by_name(llama_folder):
    with pytest.raises(QuantizationError, match="float64"):
        AutoModelForCausalLM.from_pretrained(llama_folder, quantization_config="nf4", dtype=torch.float64)


def test_a_checkpoint_in_other_bits_is_refused(llama_folder, tmp_path):
    AutoModelForCausalLM.from_pretrained(llama_folder, quantization_config="nf4").save_pretrained(tmp_path)
    for asked in ("fp4", "llm.int8", BitsAndBytesConfig(**NF4, bnb_4bit_use_double_quant=True)):
        with pytest.raises(QuantizationError, match="drop `quantization_config`"):
            AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config=asked)


def damaged(folder, change):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    return folder


LAYER = "model.layers.0.mlp.up_proj"


def without(name):
    return lambda tensors: tensors.pop(f"{LAYER}.{name}")


def garbage(tensors):
    tensors[f"{LAYER}.weight.quant_state.bitsandbytes__nf4"] = torch.full((30,), 7, dtype=torch.uint8)


def short(tensors):
    tensors[f"{LAYER}.weight"] = tensors[f"{LAYER}.weight"][:-3].clone()


def scales_short(tensors):
    tensors[f"{LAYER}.weight.absmax"] = tensors[f"{LAYER}.weight.absmax"][:-3].clone()


@pytest.mark.parametrize(
    "change",
    [
        without("weight"),
        without("weight.absmax"),
        without("weight.quant_state.bitsandbytes__nf4"),
        garbage,
        short,
        scales_short,
    ],
    ids=["weight", "scales", "state", "garbage", "short weight", "short scales"],
)
def test_a_damaged_checkpoint_is_refused(change, llama_folder, tmp_path):
    AutoModelForCausalLM.from_pretrained(llama_folder, quantization_config="nf4").save_pretrained(tmp_path)
    with pytest.raises(TranseptError, match="up_proj"):
        AutoModelForCausalLM.from_pretrained(damaged(tmp_path, change))


def test_an_8_bit_checkpoint_without_scales_is_refused(llama_folder, tmp_path):
    AutoModelForCausalLM.from_pretrained(llama_folder, quantization_config="llm.int8").save_pretrained(tmp_path)
    with pytest.raises(TranseptError, match="up_proj"):
        AutoModelForCausalLM.from_pretrained(damaged(tmp_path, without("SCB")))


def test_a_layout_of_old_gpus_is_refused(llama_folder, tmp_path):
    AutoModelForCausalLM.from_pretrained(llama_folder, quantization_config="llm.int8").save_pretrained(tmp_path)

    def change(tensors):
        tensors[f"{LAYER}.weight_format"] = torch.ones((), dtype=torch.uint8)

    with pytest.raises(QuantizationError, match="quantize the original checkpoint again"):
        AutoModelForCausalLM.from_pretrained(damaged(tmp_path, change))


def test_a_configuration_of_another_width_is_refused(llama_folder, tmp_path):
    AutoModelForCausalLM.from_pretrained(llama_folder, quantization_config="nf4").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "intermediate_size": 64}))
    with pytest.raises(TranseptError):
        AutoModelForCausalLM.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (None, "is not installed: pip install --upgrade bitsandbytes"),
        ("raise OSError('libcuda.so: cannot open')", "does not import (OSError: libcuda.so: cannot open): pip install"),
    ],
    ids=["missing", "broken"],
)
def test_a_missing_or_broken_library_is_named(module, words, llama_folder, tmp_path):
    """In a process of its own, where the library is hidden or another one stands in its place."""
    code = f"""
    import sys
    if {module!r} is None:
        sys.modules["bitsandbytes"] = None
    else:
        sys.path.insert(0, {str(tmp_path)!r})
    from transept import AutoModelForCausalLM
    from transept.errors import QuantizationError
    try:
        AutoModelForCausalLM.from_pretrained({str(llama_folder)!r}, quantization_config="nf4")
    except QuantizationError as error:
        print(error)
    """
    if module is not None:
        (tmp_path / "bitsandbytes.py").write_text(module)
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert words in done.stdout


def test_a_model_with_a_missing_weight_says_so(llama_folder, tmp_path):
    AutoModelForCausalLM.from_pretrained(llama_folder).save_pretrained(tmp_path)
    with pytest.raises(MissingTensorsError, match="up_proj"):
        AutoModelForCausalLM.from_pretrained(damaged(tmp_path, without("weight")), quantization_config="nf4")
