"""Text: the tokenizer, its special tokens, the chat template with its label masks; SD3's text conditions."""
