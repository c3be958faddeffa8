"""The conformance kit's checks, for the Vision Transformer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transept_testing import ConfigConformance, ModelConformance

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 12,
    "patch_size": 4,
    "encoder_stride": 4,
    "num_labels": 3,
}


class TestViTConfig(ConfigConformance):
    model_type = "vit"
    tiny = TINY
    peer = "ViT"


class TestViT(ModelConformance):
    model_type = "vit"
    tiny = TINY
    peer = "ViT"
    supports_resizing = False
    supports_inputs_embeds = False
    variants = {  # noqa: RUF012
        "one channel": {"num_channels": 1},
        "no biases": {"qkv_bias": False},
        "oblong": {"image_size": [8, 12], "patch_size": [4, 2]},
    }

    def inputs(self, case: Any, *, batch: int = 2, length: int = 9, seed: int = 0, **changes: Any) -> dict[str, Tensor]:
        config = self.config(case, **changes)
        generator = torch.Generator().manual_seed(seed)
        return {"pixel_values": torch.randn(batch, config.num_channels, *config.image_shape, generator=generator)}
