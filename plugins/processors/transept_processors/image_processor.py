"""Image processors: from pictures to `pixel_values`."""

from __future__ import annotations

from typing import Any, ClassVar

from .batch_feature import BatchFeature
from .settings import SavedSettings

__all__ = ["BaseImageProcessor", "ImageProcessingMixin"]


class ImageProcessingMixin(SavedSettings):
    """Settings of an image processor, in `preprocessor_config.json`."""

    type_field: ClassVar[str] = "image_processor_type"
    part: ClassVar[str] = "image_processor"
    model_input_names: ClassVar[list[str]] = ["pixel_values"]


class BaseImageProcessor(ImageProcessingMixin):
    """Base of image processors: a subclass gives `preprocess`."""

    def __call__(self, images: Any, **options: Any) -> BatchFeature:
        """`preprocess`, whose arguments it takes."""
        return self.preprocess(images, **options)

    def preprocess(self, images: Any, **options: Any) -> BatchFeature:
        """`pixel_values` (batch, channels, height, width) from one image or several; options override the settings.

        Raises:
            InputError: what was given is no image, or of the wrong shape, dtype or channel order.
        """
        raise NotImplementedError(f"`{type(self).__name__}` has no `preprocess`.")
