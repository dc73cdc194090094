"""Self-verification: scores from the model's own logits; of many candidates only the chosen are decoded."""

from unimm.verify.answer_logits import answer_logits
from unimm.verify.best_of import Chosen, best_of
from unimm.verify.prompt_confidence import prompt_confidence, self_certainty

__all__ = ["Chosen", "answer_logits", "best_of", "prompt_confidence", "self_certainty"]
