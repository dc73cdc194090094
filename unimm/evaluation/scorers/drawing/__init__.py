"""Rules for drawn pictures."""

from unimm.evaluation.scorers.drawing import geneval
from unimm.evaluation.scorers.scorer import Scorer

TABLE: dict[str, Scorer] = {scorer.name: scorer for scorer in (geneval.SCORER,)}
