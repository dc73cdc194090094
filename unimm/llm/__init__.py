"""The language model: Qwen2 of transformers, query tokens, and the splice of vectors into text."""
