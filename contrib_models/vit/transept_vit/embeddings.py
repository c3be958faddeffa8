"""From an image to what the encoder reads: a vector for each patch, and where it is."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transept.errors import InputError

from .configuration import ViTConfig

__all__ = ["ViTEmbeddings"]


class ViTPatchEmbeddings(nn.Module):
    """A vector for each patch: a convolution whose window is a patch and whose stride is one."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.projection = nn.Conv2d(config.num_channels, config.hidden_size, config.patch_shape, stride=config.patch_shape)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(batch, patches, hidden_size) from (batch, channels, height, width)."""
        return self.projection(pixel_values).flatten(2).transpose(1, 2)


class ViTEmbeddings(nn.Module):
    """Patches behind a token that stands for the whole image, and a learned position for each."""

    def __init__(self, config: ViTConfig, use_mask_token: bool) -> None:
        super().__init__()
        height, width = (image // patch for image, patch in zip(config.image_shape, config.patch_shape, strict=True))
        self.grid, self.patch_shape, self.image_shape = (height, width), config.patch_shape, config.image_shape
        self.num_channels = config.num_channels
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size)) if use_mask_token else None
        self.patch_embeddings = ViTPatchEmbeddings(config)
        self.position_embeddings = nn.Parameter(torch.zeros(1, height * width + 1, config.hidden_size))
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, pixel_values: Tensor, bool_masked_pos: Tensor | None, interpolate_pos_encoding: bool) -> Tensor:
        """(batch, 1 + patches, hidden_size) from (batch, channels, height, width)."""
        self._check(pixel_values, interpolate_pos_encoding)
        patches = self.patch_embeddings(pixel_values.to(self.cls_token.dtype))  # (batch, patches, hidden_size)
        if bool_masked_pos is not None:
            patches = self._mask(patches, bool_masked_pos)
        embeddings = torch.cat((self.cls_token.expand(patches.shape[0], -1, -1), patches), dim=1)
        return self.dropout(embeddings + self._positions(pixel_values, interpolate_pos_encoding))

    def _positions(self, pixel_values: Tensor, interpolate_pos_encoding: bool) -> Tensor:
        """(1, 1 + patches, hidden_size): those learned, or for another size of image their bicubic interpolation."""
        learned = self.position_embeddings
        if not interpolate_pos_encoding or tuple(pixel_values.shape[2:]) == self.image_shape:
            return learned
        size = [length // patch for length, patch in zip(pixel_values.shape[2:], self.patch_shape, strict=True)]
        grid = learned[:, 1:].unflatten(1, self.grid).permute(0, 3, 1, 2)  # (1, hidden_size, height, width)
        resized = F.interpolate(grid, size=size, mode="bicubic", align_corners=False)
        return torch.cat((learned[:, :1], resized.flatten(2).transpose(1, 2)), dim=1)

    def _mask(self, patches: Tensor, bool_masked_pos: Tensor) -> Tensor:
        if self.mask_token is None:
            raise InputError("`bool_masked_pos` needs a mask token: use `ViTForMaskedImageModeling`, or `use_mask_token=True`.")
        if bool_masked_pos.shape != patches.shape[:2]:
            raise InputError(
                f"`bool_masked_pos` has shape {tuple(bool_masked_pos.shape)}; this call needs {tuple(patches.shape[:2])}, one a patch."
            )
        return torch.where(bool_masked_pos[..., None].bool(), self.mask_token, patches)

    def _check(self, pixel_values: Tensor, interpolate_pos_encoding: bool) -> None:
        shape = tuple(pixel_values.shape)
        expected = f"(batch, {self.num_channels}, {self.image_shape[0]}, {self.image_shape[1]})"
        if pixel_values.dim() != 4 or not pixel_values.is_floating_point() or shape[0] == 0:
            raise InputError(f"`pixel_values` is {pixel_values.dtype} of shape {shape}: it must be floats, {expected}.")
        if shape[1] != self.num_channels:
            hint = " The channels come second: use `permute(0, 3, 1, 2)`." if shape[3] == self.num_channels else ""
            raise InputError(f"`pixel_values` has {shape[1]} channels, and the model has {self.num_channels}.{hint}")
        if not interpolate_pos_encoding and shape[2:] != self.image_shape:
            raise InputError(
                f"`pixel_values` has images of {shape[2]} x {shape[3]} pixels, and the model's positions are for {self.image_shape[0]} x "
                f"{self.image_shape[1]}: resize them, or pass `interpolate_pos_encoding=True`."
            )
