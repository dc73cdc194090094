"""Measuring: scores with intervals, on tasks whose rules are written down."""
