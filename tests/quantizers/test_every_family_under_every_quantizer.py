"""The matrix: each installed family under each quantizer that needs no data, loaded, saved, loaded again, and taken back."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

import transept
from transept.discovery import load_object, registry
from transept.rewrite import applied_to

SIZES = tomllib.loads((Path(__file__).parents[1] / "models" / "tiny.toml").read_text())
METHODS: dict[str, tuple[Any, float]] = {
    "int8": ("int8", 0.02),
    "nf4": ("nf4", 0.4),
    "llm.int8": ("llm.int8", 0.06),
    "q8_0": ("q8_0", 0.03),
    "q4_0": ("q4_0", 0.4),
    "hqq": ({"quant_method": "hqq", "nbits": 8, "group_size": 64}, 0.02),
    "torchao": ("int8_weight_only", 0.03),
}
"""What is asked for, and how far the base model's output may go from the float one's, of its largest value."""


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {}
    for family, sizes in SIZES.items():
        torch.manual_seed(0)
        spec = registry.get("models", family)
        config = load_object(registry.get("configs", family).config, owner=family)(**sizes)
        model = load_object(spec.tasks["base"], owner=family)(config)
        for parameter in model.parameters():  # what initialises as zero or one would hide an error
            parameter.data += 0.05 * torch.randn_like(parameter)
        folders[family] = tmp_path_factory.mktemp(family)
        model.save_pretrained(folders[family])
    return folders


def inputs(config: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    if config.model_type == "vit":
        return {"pixel_values": torch.randn(2, 3, 16, 16)}
    ids = torch.randint(5, 90, (2, 9))
    if config.model_type == "whisper":
        return {"input_features": torch.randn(2, 6, 20), "decoder_input_ids": ids}
    return {"input_ids": ids, **({"decoder_input_ids": ids} if config.is_encoder_decoder else {})}


def output(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(**inputs(model.config))[0].float()


def test_the_matrix_has_every_family() -> None:
    assert sorted(SIZES) == registry.keys("models")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", SIZES)
def test_a_family_is_quantized_saved_and_taken_back(
    family: str, method: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    asked, tolerance = METHODS[method]
    plain = output(transept.AutoModel.from_pretrained(checkpoints[family]))
    model = transept.AutoModel.from_pretrained(checkpoints[family], quantization_config=asked)
    packed = {applied.path for applied in applied_to(model) if applied.rewrite.packs}
    assert len(packed) >= 8
    found = output(model)
    assert 0 < (found - plain).abs().max() <= tolerance * plain.abs().max()
    model.save_pretrained(tmp_path)
    again = transept.AutoModel.from_pretrained(tmp_path)
    assert {applied.path for applied in applied_to(again) if applied.rewrite.packs} == packed
    assert torch.equal(output(again), found)
    back = model.dequantize()
    assert back.config.quantization_config is None
    torch.testing.assert_close(output(back), found, rtol=0, atol=float(tolerance * plain.abs().max()))
