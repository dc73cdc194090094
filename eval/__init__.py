"""Benchmarks. Run from the repository root with `python -m eval.NAME`; not installed."""
