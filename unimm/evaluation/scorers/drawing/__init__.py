"""Rules for drawn pictures."""

from unimm.evaluation.scorers.scorer import Scorer

TABLE: dict[str, Scorer] = {}
