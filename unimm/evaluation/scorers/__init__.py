"""The rules of benchmarks, as pure functions of records."""

from unimm.evaluation.scorers import answering, drawing
from unimm.evaluation.scorers.scorer import Scorer

SCORERS: dict[str, Scorer] = {**drawing.TABLE, **answering.TABLE}
"""Scorers by the name of their benchmark."""
