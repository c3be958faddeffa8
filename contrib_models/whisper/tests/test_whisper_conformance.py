"""The conformance kit's checks, for the Whisper family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transept_testing import CausalLMConformance, ConfigConformance, Seq2SeqConformance

TINY = {
    "vocab_size": 97,
    "num_mel_bins": 6,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 56,
    "max_source_positions": 10,
    "max_target_positions": 40,
    "classifier_proj_size": 12,
    "decoder_start_token_id": 3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "begin_suppress_tokens": None,
    "num_labels": 3,
}
VARIANTS = {
    "other heads on either side": {"encoder_attention_heads": 2, "decoder_attention_heads": 8, "decoder_layers": 1},
    "relu and an odd width of heads": {"activation_function": "relu", "d_model": 36, "num_mel_bins": 5},
}


class TestWhisperConfig(ConfigConformance):
    model_type = "whisper"
    tiny = TINY
    peer = "Whisper"
    # written here, and by the peer's class as well
    not_compared = ConfigConformance.not_compared - {"decoder_start_token_id"}
    variants = {"in many layers": {"encoder_layers": 5, "suppress_tokens": [1, 2], "begin_suppress_tokens": [5, 2]}}  # noqa: RUF012
    wrong = (
        {"d_model": 30},
        {"decoder_attention_heads": 5},
        {"median_filter_width": 4},
        {"mask_time_prob": 1.5},
        {"num_mel_bins": 0},
    )


class TestWhisper(Seq2SeqConformance):
    model_type = "whisper"
    tiny = TINY
    peer = "Whisper"
    reads_text = False
    heads = ("base", "pretraining", "speech_seq2seq", "audio_classification")
    generating = ("speech_seq2seq",)
    labelled = ("audio_classification",)
    golden = {  # noqa: RUF012
        "base": 4.681543,
        "pretraining": -0.896156,
        "speech_seq2seq": -0.896156,
        "audio_classification": -0.071711,
    }
    variants = {**VARIANTS, "weighted layers": {"use_weighted_layer_sum": True}}  # noqa: RUF012

    def inputs(self, case: Any, *, batch: int = 2, length: int = 9, seed: int = 0, **changes: Any) -> dict[str, Tensor]:
        config = self.config(case, **changes)
        shape = (batch, config.num_mel_bins, 2 * config.max_source_positions)
        places = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
        found = {"input_features": torch.sin(places * 0.37 + seed).float().reshape(shape)}
        if self.takes(case, "decoder_input_ids"):
            ordinary = self.ordinary_ids(config)
            ids = torch.arange(batch * (length - 2)).reshape(batch, length - 2) * 7 + seed
            found["decoder_input_ids"] = torch.tensor(ordinary)[ids % len(ordinary)]
        return found

    def by_our_names(self, of_the_peer: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Without the gradient of the encoder's sines, which the peer freezes, and thaws while loading."""
        sines = "encoder.embed_positions.weight"
        return {name: one for name, one in of_the_peer.items() if isinstance(one, nn.Parameter) or not name.endswith(sines)}

    def unused(self, case: Any, parameter: str) -> bool:
        return parameter.endswith("encoder.embed_positions.weight")  # sines, which nobody trains


class TestWhisperDecoder(CausalLMConformance):
    model_type = "whisper"
    tiny = {**TINY, "encoder_layers": 3}  # noqa: RUF012  # the peer's cache has as many layers as the encoder
    peer = "Whisper"
    heads = ("causal_lm",)
    golden = {"causal_lm": -0.202645}  # noqa: RUF012
    variants = VARIANTS
    position_table = "max_target_positions"

    def layers(self, case: Any, output: str) -> int:
        return int(self.config(case).decoder_layers)

    def unused(self, case: Any, parameter: str) -> bool:
        return ".encoder_attn" in parameter  # there is no encoder to look at
