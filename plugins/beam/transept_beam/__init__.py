"""Beam search for transept: beam search and beam sampling."""

__version__ = "0.1.0"
