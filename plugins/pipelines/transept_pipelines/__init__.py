"""Pipelines for transept: a task in one call, from text to labels, answers and text."""

from .base import ChunkPipeline, Pipeline
from .factory import pipeline
from .inputs import KeyDataset, KeyPairDataset, Results

__version__ = "0.1.0"

__all__ = ["ChunkPipeline", "KeyDataset", "KeyPairDataset", "Pipeline", "Results", "pipeline"]
