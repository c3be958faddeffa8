"""Task heads of the Vision Transformer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from transept.errors import InputError
from transept.nn.losses import sequence_classification_loss
from transept.outputs import ImageClassifierOutput, ModelOutput

from .configuration import ViTConfig
from .modeling import ViTModel, ViTPreTrainedModel

__all__ = ["MaskedImageModelingOutput", "ViTForImageClassification", "ViTForMaskedImageModeling"]


@dataclass
class MaskedImageModelingOutput(ModelOutput):
    """`reconstruction` (batch, channels, height, width); the rest as in `transept.outputs`."""

    loss: Tensor | None = None
    reconstruction: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class ViTForImageClassification(ViTPreTrainedModel):
    """One prediction an image, read at its own token."""

    new_on_load = ("classifier.*",)

    def __init__(self, config: ViTConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.vit = ViTModel(config, add_pooling_layer=False)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels) if config.num_labels > 0 else nn.Identity()
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor | None = None,
        labels: Tensor | None = None,
        interpolate_pos_encoding: bool | None = None,
        attention_mask: Tensor | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> ImageClassifierOutput | tuple[Any, ...]:
        """Logits (batch, num_labels); other arguments are `ViTModel.forward`'s.

        Args:
            labels: see `transept.nn.losses.sequence_classification_loss`; `config.problem_type` chooses the loss.
        """
        outputs = self.vit(
            pixel_values,
            interpolate_pos_encoding=interpolate_pos_encoding,
            attention_mask=attention_mask,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        logits = self.classifier(outputs.last_hidden_state[:, 0])
        output = ImageClassifierOutput(
            loss=None if labels is None else sequence_classification_loss(logits, labels, self.config.problem_type),
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )
        return output if self.output_options(return_dict=return_dict)[2] else output.to_tuple()


class ViTForMaskedImageModeling(ViTPreTrainedModel):
    """Draws the image again, hidden patches included (https://arxiv.org/abs/2111.09886)."""

    new_on_load = ("decoder.*", *ViTPreTrainedModel.new_on_load)

    def __init__(self, config: ViTConfig) -> None:
        super().__init__(config)
        self.vit = ViTModel(config, add_pooling_layer=False, use_mask_token=True)
        drawn = config.encoder_stride**2 * config.num_channels
        self.decoder = nn.Sequential(
            nn.Conv2d(config.hidden_size, drawn, kernel_size=1), nn.PixelShuffle(config.encoder_stride)
        )
        self.encoder_stride = config.encoder_stride
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor | None = None,
        bool_masked_pos: Tensor | None = None,
        interpolate_pos_encoding: bool | None = None,
        attention_mask: Tensor | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> MaskedImageModelingOutput | tuple[Any, ...]:
        """The image as the model draws it; other arguments are `ViTModel.forward`'s.

        Args:
            bool_masked_pos: (batch, patches), True where a patch is hidden: asks for a loss, the mean absolute difference there.

        Raises:
            InputError: a loss is asked for, and what is drawn for a patch has another size than the patch.
        """
        patch = self.vit.embeddings.patch_shape
        if bool_masked_pos is not None and patch != (self.encoder_stride, self.encoder_stride):
            raise InputError(
                f"`encoder_stride` of the configuration is {self.encoder_stride} and `patch_size` {patch[0]} x {patch[1]}: with "
                "`bool_masked_pos` they must be equal, so that the drawing has the size of the image."
            )
        outputs = self.vit(
            pixel_values,
            bool_masked_pos,
            interpolate_pos_encoding,
            attention_mask,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        assert pixel_values is not None
        grid = [length // size for length, size in zip(pixel_values.shape[2:], patch, strict=True)]
        patches = outputs.last_hidden_state[:, 1:].transpose(1, 2).unflatten(2, grid)  # (batch, hidden_size, height, width)
        reconstruction = self.decoder(patches)
        loss = None
        if bool_masked_pos is not None:
            hidden = bool_masked_pos.unflatten(1, grid)[:, None].float()
            hidden = hidden.repeat_interleave(patch[0], 2).repeat_interleave(patch[1], 3)  # (batch, 1, height, width)
            difference = F.l1_loss(pixel_values, reconstruction, reduction="none")
            loss = (difference * hidden).sum() / (hidden.sum() + 1e-5) / pixel_values.shape[1]
        output = MaskedImageModelingOutput(
            loss=loss,
            reconstruction=reconstruction,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )
        return output if self.output_options(return_dict=return_dict)[2] else output.to_tuple()
