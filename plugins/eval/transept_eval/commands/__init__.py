"""`transept eval` and `transept lm-eval`."""
