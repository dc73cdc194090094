"""Benchmarks of answers to questions about pictures: data, prompts, answers, records, card."""
