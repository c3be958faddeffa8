"""Fast tokenizers over the `tokenizers` library, and the one place where chat templates render."""
