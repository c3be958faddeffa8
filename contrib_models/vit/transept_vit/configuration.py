"""Configuration of the Vision Transformer family (arXiv 2010.11929)."""

from __future__ import annotations

from typing import ClassVar

from transept.configuration import Count, PretrainedConfig, Probability, Size
from transept.errors import ConfigError

__all__ = ["ViTConfig"]


class ViTConfig(PretrainedConfig):
    """Shape of a Vision Transformer; the names are the checkpoints'.

    `image_size` and `patch_size` are pixels, one number for squares or (height, width). `encoder_stride` is the size in pixels of
    what the head for masked images draws for each patch. `pooler_output_size` is `hidden_size` where it is left out.
    """

    model_type: ClassVar[str] = "vit"

    hidden_size: Size = 768
    num_hidden_layers: Count = 12
    num_attention_heads: Size = 12
    intermediate_size: Size = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: Probability = 0.0
    attention_probs_dropout_prob: Probability = 0.0
    initializer_range: Probability = 0.02
    layer_norm_eps: Probability = 1e-12
    image_size: Size | list[Size] = 224
    patch_size: Size | list[Size] = 16
    num_channels: Size = 3
    qkv_bias: bool = True
    encoder_stride: Size = 16
    pooler_output_size: Size | None = None
    pooler_act: str = "tanh"

    def fill_defaults(self) -> None:
        if self.pooler_output_size is None:
            self.pooler_output_size = self.hidden_size

    @property
    def image_shape(self) -> tuple[int, int]:
        """(height, width) of an image, in pixels."""
        return _pair(self.image_size)

    @property
    def patch_shape(self) -> tuple[int, int]:
        """(height, width) of a patch, in pixels."""
        return _pair(self.patch_size)

    def validate_config(self) -> None:
        if self.hidden_size % self.num_attention_heads:
            raise ConfigError(
                f"`hidden_size` of `ViTConfig` is {self.hidden_size}, no multiple of `num_attention_heads`, which is "
                f"{self.num_attention_heads}. Change one of them."
            )
        for name in ("image_size", "patch_size"):
            value = getattr(self, name)
            if isinstance(value, list) and len(value) != 2:
                raise ConfigError(f"`{name}` of `ViTConfig` is {value}: it is one number, or a height and a width.")
        if any(image < patch for image, patch in zip(self.image_shape, self.patch_shape, strict=True)):
            raise ConfigError(
                f"`image_size` of `ViTConfig` is {self.image_size}, smaller than a patch, `patch_size`, of {self.patch_size}."
            )
        super().validate_config()


def _pair(size: int | list[int]) -> tuple[int, int]:
    return (size[0], size[1]) if isinstance(size, list) else (size, size)
