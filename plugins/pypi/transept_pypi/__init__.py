"""A source of checkpoints: weights that an installed Python package carries."""
