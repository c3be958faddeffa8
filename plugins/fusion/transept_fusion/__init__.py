"""Fused projections: one matrix product where a checkpoint has several with the same input."""

__version__ = "0.1.0"
