"""The conformance kit's checks, for the Vision Transformer."""

from __future__ import annotations

from collections.abc import Mapping
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
SQUARES = "the peer's class draws squares alone"

# what the peer calls its modules, and what they are called in checkpoints
_PEERS_NAMES = {
    "layers.": "encoder.layer.",
    "attention.q_proj": "attention.attention.query",
    "attention.k_proj": "attention.attention.key",
    "attention.v_proj": "attention.attention.value",
    "attention.o_proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}


class TestViTConfig(ConfigConformance):
    model_type = "vit"
    tiny = TINY
    peer = "ViT"
    # a model that reads no text has none of these, and the peer's class stopped writing them
    not_compared = ConfigConformance.not_compared | {
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "tie_word_embeddings",
    }
    wrong = ({"hidden_size": 30}, {"patch_size": 16}, {"image_size": [8, 8, 8]}, {"patch_size": 0})


class TestViT(ModelConformance):
    model_type = "vit"
    tiny = TINY
    peer = "ViT"
    reads_text = False
    golden = {"base": 0.124114, "image_classification": -0.120446, "masked_image_modeling": 0.637728}  # noqa: RUF012
    variants = {  # noqa: RUF012
        "one channel": {"num_channels": 1},
        "no biases": {"qkv_bias": False},
        "oblong": {"image_size": [8, 12]},
    }
    xfails = {  # noqa: RUF012
        "test_outputs_are_the_peers[masked_image_modeling-oblong]": SQUARES,
        "test_loss_and_gradients_are_the_peers[masked_image_modeling-oblong]": SQUARES,
    }

    def inputs(self, case: Any, *, batch: int = 2, length: int = 9, seed: int = 0, **changes: Any) -> dict[str, Tensor]:
        config = self.config(case, **changes)
        shape = (batch, config.num_channels, *config.image_shape)
        places = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
        return {"pixel_values": torch.sin(places * 0.37 + seed).float().reshape(shape)}

    def labels(self, case: Any, model: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if case.task != "masked_image_modeling":
            return super().labels(case, model, inputs)
        batch, patches = inputs["pixel_values"].shape[0], model.vit.embeddings.position_embeddings.shape[1] - 1
        return {"bool_masked_pos": (torch.arange(batch * patches).reshape(batch, patches) % 3) == 1}

    def by_our_names(self, of_the_peer: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = {}
        for name, tensor in of_the_peer.items():
            for theirs, ours in _PEERS_NAMES.items():
                name = name.replace(theirs, ours)
            found[name] = tensor
        return found
