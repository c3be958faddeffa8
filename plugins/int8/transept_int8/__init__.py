"""8-bit weights for transept, in groups with a scale each: for any architecture, with nothing beside torch."""

__version__ = "0.1.0"
