"""CTranslate2 checkpoints for transept."""

__version__ = "0.1.0"
