"""A model loaded from GGUF computes what the peer computes with the weights that went into the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

pytest.importorskip("transept_llama")
transformers = pytest.importorskip("transformers")

from transept.auto import AutoConfig, AutoModelForCausalLM, AutoTokenizer  # noqa: E402
from transept.errors import TranseptError  # noqa: E402

Kind = gguf.GGMLQuantizationType
IDS = torch.tensor([[1, 5, 9, 11, 40, 2, 2, 7]])


def peers_logits(tensors: dict[str, np.ndarray], **config: Any) -> torch.Tensor:
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**config))
    state = {name: torch.from_numpy(np.asarray(value, np.float32)) for name, value in tensors.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert set(missing) <= {"lm_head.weight"}
    model.tie_weights()
    with torch.no_grad():
        return model.eval()(IDS).logits


def logits(path: Path, **options: Any) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(path, automatic_rewrites=False, **options)
    with torch.no_grad():
        return model(IDS).logits


def assert_close(got: torch.Tensor, want: torch.Tensor) -> None:
    assert (got - want).abs().max() <= 1e-4 * want.abs().max()


def test_float32_weights(tiny: Any, tmp_path: Path) -> None:
    assert_close(logits(tiny.write(tmp_path / "tiny.gguf")), peers_logits(tiny.tensors, **tiny.config))


def test_tied_embeddings(tiny: Any, tmp_path: Path) -> None:
    del tiny.tensors["lm_head.weight"]
    path = tiny.write(tmp_path / "tiny.gguf")
    model = AutoModelForCausalLM.from_pretrained(path)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert_close(logits(path), peers_logits(tiny.tensors, **{**tiny.config, "tie_word_embeddings": True}))


@pytest.mark.parametrize("kind", [Kind.Q4_0, Kind.Q5_1, Kind.Q8_0])
def test_blocks_are_loaded_as_the_weights_they_stand_for(kind: Kind, tiny: Any, tmp_path: Path) -> None:
    def round_trip(value: np.ndarray) -> np.ndarray:
        return gguf.quants.dequantize(gguf.quants.quantize(value, kind), kind) if value.ndim == 2 else value

    path = tiny.write(tmp_path / "tiny.gguf", kind=kind)
    assert AutoModelForCausalLM.from_pretrained(path).dtype == torch.float32
    assert_close(logits(path), peers_logits({name: round_trip(value) for name, value in tiny.tensors.items()}, **tiny.config))


@pytest.mark.parametrize(("kind", "dtype"), [(Kind.F16, torch.float16), (Kind.BF16, torch.bfloat16)])
def test_half_precision_files_keep_their_dtype_and_may_be_cast(
    kind: Kind, dtype: torch.dtype, tiny: Any, tmp_path: Path
) -> None:
    path = tiny.write(tmp_path / "tiny.gguf", kind=kind)
    model = AutoModelForCausalLM.from_pretrained(path)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    rounded = {
        name: torch.from_numpy(value).to(dtype).float().numpy() if value.ndim == 2 else value
        for name, value in tiny.tensors.items()
    }
    assert_close(logits(path, dtype=torch.float32), peers_logits(rounded, **tiny.config))


def test_llama3_rope_factors(tiny: Any, tmp_path: Path) -> None:
    rope = {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    peer = transformers.LlamaConfig(**tiny.config, rope_parameters=rope)
    plain = 1 / 500000.0 ** (torch.arange(0, 16, 2) / 16)
    factors = (plain / ROPE_INIT_FUNCTIONS["llama3"](peer, torch.device("cpu"))[0]).numpy()
    tiny.config["rope_theta"] = 500000.0
    path = tiny.write(tmp_path / "tiny.gguf", extra={"rope_freqs.weight": factors})
    del tiny.config["rope_theta"]
    assert_close(logits(path), peers_logits(tiny.tensors, **tiny.config, rope_parameters=rope))


def test_the_config_is_the_files(tiny: Any, tmp_path: Path) -> None:
    config = AutoConfig.from_pretrained(tiny.write(tmp_path / "tiny.gguf"))
    assert config.model_type == "llama"
    assert {key: getattr(config, key) for key in tiny.config} == tiny.config


def test_a_truncated_file_is_refused(tiny: Any, tmp_path: Path) -> None:
    path = tiny.write(tmp_path / "tiny.gguf")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(TranseptError, match="truncated"):
        AutoModelForCausalLM.from_pretrained(path)


def test_saved_as_safetensors_the_peer_opens_it(tiny: Any, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny.write(tmp_path / "tiny.gguf", kind=Kind.Q8_0), dtype="float32")
    model.save_pretrained(tmp_path / "saved")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    with torch.no_grad():
        assert_close(model(IDS).logits, theirs(IDS).logits)


@pytest.mark.slow
def test_smollm2_answers(smollm2: Path) -> None:
    # without native products, which round activations: this question's answer hangs on a hair
    model = AutoModelForCausalLM.from_pretrained(smollm2, automatic_rewrites=False)
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**prompt, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(answer[0])
