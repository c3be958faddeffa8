"""Sentence embeddings for transept, as a sentence-transformers checkpoint's modules.json says."""

__version__ = "0.1.0"
