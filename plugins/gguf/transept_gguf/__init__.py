"""GGUF checkpoints for transept: a bounded reader, block dequantization, and config, names and tokenizer from the file."""
