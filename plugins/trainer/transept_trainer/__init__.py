"""Training for transept: one loop over accelerate, whose checkpoints resume bit for bit."""

__version__ = "0.1.0"
