"""The model as its own judge: latents go back through the projector, and the LLM says what it thinks."""

from unimm.model.verifying.asking import word_ids
from unimm.model.verifying.choosing import Choice, choose
from unimm.model.verifying.judging import VERIFIERS, Judge, Verifier, judging, on_pixels
from unimm.model.verifying.scoring import Verdicts, verify

__all__ = [
    "VERIFIERS",
    "Choice",
    "Judge",
    "Verdicts",
    "Verifier",
    "choose",
    "judging",
    "on_pixels",
    "verify",
    "word_ids",
]
