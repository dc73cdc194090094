"""Self-verification: scores from the model's own logits; of many candidates only the chosen are decoded."""

from unimm.verify.answer_logits import answer_logits
from unimm.verify.best_of import Chosen, best_of
from unimm.verify.calibration import Calibration, calibrate
from unimm.verify.calibrations import Calibrations
from unimm.verify.p_yes import p_yes
from unimm.verify.positions import log_likelihood, row_means, self_certainty

__all__ = [
    "Calibration",
    "Calibrations",
    "Chosen",
    "answer_logits",
    "best_of",
    "calibrate",
    "log_likelihood",
    "p_yes",
    "row_means",
    "self_certainty",
]
