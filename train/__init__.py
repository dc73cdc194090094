"""Recipes. Run from the repository root with `python -m train.STAGE`; not installed."""
