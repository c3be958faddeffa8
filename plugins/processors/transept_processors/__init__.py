"""Processing: from raw waveforms and images to what models take, with settings that live beside a checkpoint."""

from .batch_feature import BatchFeature
from .feature_extractor import FeatureExtractionMixin, SequenceFeatureExtractor
from .image_processor import BaseImageProcessor, ImageProcessingMixin
from .processor import ProcessorMixin

__all__ = [
    "BaseImageProcessor",
    "BatchFeature",
    "FeatureExtractionMixin",
    "ImageProcessingMixin",
    "ProcessorMixin",
    "SequenceFeatureExtractor",
]

__version__ = "0.1.0"
