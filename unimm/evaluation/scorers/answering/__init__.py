"""Rules for answers to questions about pictures."""

from unimm.evaluation.scorers.scorer import Scorer

TABLE: dict[str, Scorer] = {}
