"""Thin mains over the package. Run from the repository root with `python -m tools.NAME`; not installed."""
