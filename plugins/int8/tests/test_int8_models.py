"""Models of any architecture are packed while they load, saved as plain tensors, and read back bit for bit in another process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transept_int8.linear import Int8Linear

from transept import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification
from transept.errors import QuantizationError

SIZES: dict[str, dict[str, Any]] = {
    "llama": {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2},
    "qwen3": {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16},
    "gemma2": {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16},
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4},
    "gpt_neox": {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4},
    "bert": {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4},
    "t5": {"d_model": 64, "d_kv": 16, "d_ff": 96, "num_layers": 2, "num_heads": 4},
}


def tiny(family: str, **more: Any) -> Any:
    torch.manual_seed(0)
    layers = {} if "layer" in " ".join(SIZES[family]) else {"num_hidden_layers": 2}
    return AutoConfig.for_model(family, vocab_size=131, **layers, **SIZES[family], **more)


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    AutoModelForCausalLM.from_config(tiny("llama")).save_pretrained(tmp_path / "llama")
    return tmp_path / "llama"


IDS = torch.tensor([[5, 9, 2, 77]])

_READ = """
import sys, torch
from transept import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
with torch.inference_mode():
    torch.save((model.state_dict(), model(torch.tensor([[5, 9, 2, 77]])).logits), sys.argv[2])
"""


@pytest.mark.parametrize(("tied", "shard"), [(True, "5GB"), (False, "20KB")])
def test_another_process_reads_the_same_bits(tmp_path: Path, tied: bool, shard: str) -> None:
    AutoModelForCausalLM.from_config(tiny("llama", tie_word_embeddings=tied)).save_pretrained(tmp_path / "plain")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "plain", quantization_config="int8")
    with torch.inference_mode():
        logits = model(IDS).logits
    model.save_pretrained(tmp_path / "packed", max_shard_size=shard)
    assert (len(list((tmp_path / "packed").glob("*.safetensors"))) > 1) is (shard != "5GB")
    subprocess.run([sys.executable, "-c", _READ, tmp_path / "packed", tmp_path / "seen"], check=True, timeout=120)
    state, seen = torch.load(tmp_path / "seen", weights_only=True)
    assert torch.equal(seen, logits)
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("family", [family for family in SIZES if family not in ("bert", "t5")])
def test_decoders_pack_save_load_and_stay_near(tmp_path: Path, family: str) -> None:
    _round_trip(AutoModelForCausalLM, tiny(family), tmp_path)


def test_encoders_and_encoder_decoders_too(tmp_path: Path) -> None:
    _round_trip(AutoModelForSequenceClassification, tiny("bert", num_labels=3), tmp_path / "bert")
    _round_trip(AutoModel, tiny("t5"), tmp_path / "t5", decoder_input_ids=IDS)


def _round_trip(auto: Any, config: Any, folder: Path, **inputs: Any) -> None:
    plain = auto.from_config(config).eval()
    plain.save_pretrained(folder / "plain")
    model = auto.from_pretrained(folder / "plain", quantization_config="int8")
    model.save_pretrained(folder / "packed")
    again = auto.from_pretrained(folder / "packed")
    assert any(isinstance(module, Int8Linear) for module in again.modules())
    with torch.inference_mode():
        wanted, found, read = (one(IDS, **inputs)[0] for one in (plain, model, again))
    assert torch.equal(read, found)
    assert (found - wanted).norm() < 0.05 * wanted.norm()


def test_files_hold_plain_tensors_and_the_settings(llama: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(llama, quantization_config="int8", dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "packed")
    stored = json.loads((tmp_path / "packed/config.json").read_text())
    assert stored["quantization_config"] == {"quant_method": "int8", "group_size": 32, "modules_to_not_convert": None}
    with safe_open(tmp_path / "packed/model.safetensors", "pt") as file:
        path = "model.layers.0.mlp.up_proj"
        assert file.get_tensor(f"{path}.qweight").dtype == torch.int8
        assert file.get_tensor(f"{path}.scales").dtype == torch.float16
        assert f"{path}.weight" not in file.keys()  # noqa: SIM118 (it is no mapping)
        assert file.get_tensor("lm_head.weight").dtype == torch.bfloat16


def test_a_live_model_is_packed_as_a_loaded_one_and_back(llama: Path) -> None:
    live, loaded = (
        AutoModelForCausalLM.from_pretrained(llama),
        AutoModelForCausalLM.from_pretrained(llama, quantization_config="int8"),
    )
    live.quantize("int8")
    assert live.is_quantized
    assert all(torch.equal(live.state_dict()[name], tensor) for name, tensor in loaded.state_dict().items())
    with torch.inference_mode():
        packed = live(IDS).logits
        torch.testing.assert_close(live.dequantize()(IDS).logits, packed, atol=1e-4, rtol=1e-4)


def test_the_dtype_of_the_load_is_that_of_the_rest_and_of_what_is_dequantized(llama: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(llama, quantization_config="int8", dtype=torch.bfloat16)
    assert model.dtype == torch.bfloat16
    with torch.inference_mode():
        assert model(IDS).logits.dtype == torch.bfloat16
    model.dequantize()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_a_layer_that_does_not_fit_is_named_before_anything_is_read(tmp_path: Path) -> None:
    config = AutoConfig.for_model(
        "llama", vocab_size=50, hidden_size=24, intermediate_size=32, num_attention_heads=2, num_hidden_layers=1
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(QuantizationError, match=r"`model\.layers\.0\.self_attn\.q_proj` has 24 input features"):
        AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config="int8")
    model = AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config={"*.down_proj": "int8"})
    assert isinstance(model.model.layers[0].mlp.down_proj, Int8Linear)


def test_other_settings_than_the_checkpoints_are_refused(llama: Path, tmp_path: Path) -> None:
    AutoModelForCausalLM.from_pretrained(llama, quantization_config="int8").save_pretrained(tmp_path / "packed")
    with pytest.raises(QuantizationError, match="group_size=32 and not 16"):
        AutoModelForCausalLM.from_pretrained(
            tmp_path / "packed", quantization_config={"quant_method": "int8", "group_size": 16}
        )


@pytest.mark.slow
def test_smollm2_keeps_its_perplexity(smollm2_folder: Path) -> None:
    """On two thousand tokens of the Python reference: within half a percent of float32."""
    from pydoc_data import topics

    from transept import AutoTokenizer

    text = "\n\n".join(value for _, value in sorted(topics.topics.items()))[:9000]
    ids = torch.tensor([AutoTokenizer.from_pretrained(smollm2_folder)(text).input_ids])[:, :2048].view(4, -1)
    plain = AutoModelForCausalLM.from_pretrained(smollm2_folder, dtype=torch.float32)
    packed = AutoModelForCausalLM.from_pretrained(smollm2_folder, dtype=torch.float32, quantization_config="int8")
    with torch.inference_mode():
        wanted, found = (float(model(ids, labels=ids).loss) for model in (plain, packed))
    assert abs(found - wanted) < 0.005
