"""The image processor of the Vision Transformer: resize, rescale, normalise."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from transept_processors import BaseImageProcessor, BatchFeature

from transept.errors import InputError, UnknownArgumentError, did_you_mean

from .image_transforms import as_image, as_images, normalize, output_size, resize

__all__ = ["ViTImageProcessor", "ViTImageProcessorFast"]

_FORMATS = {"channels_first": True, "channels_last": False, None: None}
BILINEAR = 2
"""Pillow's number for that filter."""


class ViTImageProcessor(BaseImageProcessor):
    """From pictures to `pixel_values`.

    Args:
        do_resize, size, resample: resize to `size` (see `image_transforms.output_size`) with Pillow's filter of that number.
        do_rescale, rescale_factor: multiply, as a rule 0..255 to 0..1.
        do_normalize, image_mean, image_std: subtract and divide, one number or one a channel.
        do_convert_rgb: make three channels of grey pictures and of those with a palette or transparency; None: do.
    """

    other_names: ClassVar[tuple[str, ...]] = (
        "ViTImageProcessorFast",
        "ViTImageProcessorPil",
        "ViTFeatureExtractor",
    )

    def __init__(
        self,
        *,
        do_resize: bool = True,
        size: Any = None,
        resample: int = BILINEAR,
        do_rescale: bool = True,
        rescale_factor: float = 1 / 255,
        do_normalize: bool = True,
        image_mean: float | list[float] | None = None,
        image_std: float | list[float] | None = None,
        do_convert_rgb: bool | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.do_resize, self.resample = do_resize, int(resample)
        self.size = {"height": 224, "width": 224} if size is None else size
        if isinstance(self.size, int):
            self.size = {"height": self.size, "width": self.size}
        output_size(self.size, 1, 1)
        self.do_rescale, self.rescale_factor = do_rescale, rescale_factor
        self.do_normalize = do_normalize
        self.image_mean = [0.5, 0.5, 0.5] if image_mean is None else image_mean
        self.image_std = [0.5, 0.5, 0.5] if image_std is None else image_std
        self.do_convert_rgb = do_convert_rgb

    def preprocess(
        self, images: Any, *, input_data_format: str | None = None, return_tensors: str | None = None, **changes: Any
    ) -> BatchFeature:
        """`pixel_values` (batch, channels, height, width), float32.

        Args:
            images: one or several: PIL images, arrays or tensors (height, width, channels), (channels, height, width) or
                (height, width), uint8 or floats; paths of files.
            input_data_format: "channels_first" or "channels_last", where the sizes do not say it.
            return_tensors: "pt", "np", or None for a list of tensors.
            changes: settings that differ for this call.

        Raises:
            InputError: what is no picture, or one of another shape or dtype; floats that are rescaled already.
            UnknownArgumentError: a keyword that is no setting.
        """
        known = self.setting_names()
        for name in changes:
            if name not in known:
                raise UnknownArgumentError(
                    f"`{type(self).__name__}` has no setting `{name}`.{did_you_mean(name, (*known, 'input_data_format'))}",
                    argument=name,
                )
        if input_data_format not in _FORMATS:
            raise InputError(f"`input_data_format={input_data_format!r}` is neither 'channels_first' nor 'channels_last'.")
        settings = {name: changes.get(name, getattr(self, name)) for name in known}
        first = _FORMATS[input_data_format]
        made = [_prepared(image, first, settings) for image in as_images(images)]
        return BatchFeature({"pixel_values": made}, return_tensors)


ViTImageProcessorFast = ViTImageProcessor
"""The peer's name for its processor over torchvision; ours is one."""


def _prepared(given: Any, channels_first: bool | None, settings: dict[str, Any]) -> torch.Tensor:
    convert = settings["do_convert_rgb"] is not False
    image = as_image(given, channels_first=channels_first, convert_rgb=convert)
    if settings["do_rescale"] and image.is_floating_point() and float(image.min()) >= 0 and float(image.max()) <= 1:
        raise InputError(
            "An image holds floats from 0 to 1, and `do_rescale` would rescale them again: pass `do_rescale=False`, or uint8."
        )
    if settings["do_resize"]:
        height, width = image.shape[1:]
        image = resize(image, output_size(settings["size"], height, width), settings["resample"])
    image = image.to(torch.float32)
    if settings["do_rescale"]:
        image = image * settings["rescale_factor"]
    if settings["do_normalize"]:
        image = normalize(image, settings["image_mean"], settings["image_std"])
    return image
