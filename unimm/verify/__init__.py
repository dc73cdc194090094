"""Self-verification: scores from the model's own logits; of many candidates only the chosen are decoded."""

from unimm.verify.answer_logits import answer_logits
from unimm.verify.best_of import Chosen, best_of
from unimm.verify.p_yes import p_yes
from unimm.verify.positions import log_likelihood, row_means, self_certainty

__all__ = ["Chosen", "answer_logits", "best_of", "log_likelihood", "p_yes", "row_means", "self_certainty"]
