"""Rules for drawn pictures."""

from unimm.evaluation.scorers.drawing import dpg, geneval, geneval2, wise
from unimm.evaluation.scorers.scorer import Scorer

TABLE: dict[str, Scorer] = {
    scorer.name: scorer for scorer in (geneval.SCORER, dpg.SCORER, wise.SCORER, geneval2.SCORER)
}
