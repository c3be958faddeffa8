"""Tokenizers over the `tokenizers` library and in plain Python, and the one place where chat templates render."""
