"""Text: the tokenizer, its special tokens, and the chat template with its label masks."""
