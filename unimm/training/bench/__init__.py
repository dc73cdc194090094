"""Measurements of training: `tools/bench_train.py` runs them."""
