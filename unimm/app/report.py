"""What a demonstration did, as plain records: the page and the contact sheet are made from these."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True)
class Plan:
    """How the demonstration draws."""

    steps: int = 50
    best_of: int = 8
    seed: int = 0
    verifier: str = "answer_logits"


@dataclass(frozen=True)
class Drawing:
    """One prompt, the picture that won, and what the model says about its own picture."""

    prompt: str
    image: Image.Image
    scores: tuple[float, ...]  # of every candidate, in the order drawn; the highest won
    caption: str
    answers: tuple[tuple[str, str], ...]  # (question, answer)
    seconds: float  # for drawing, verifying and decoding

    @property
    def winner(self) -> int:
        """The position of the best candidate."""
        return max(range(len(self.scores)), key=self.scores.__getitem__)


@dataclass(frozen=True)
class Exchange:
    """One turn of the conversation: what was said, and what was answered in words, in pictures or in both."""

    said: str
    text: str
    images: tuple[Image.Image, ...]
    seconds: float


@dataclass(frozen=True)
class Report:
    """The whole demonstration."""

    model: str
    drawings: tuple[Drawing, ...]
    exchanges: tuple[Exchange, ...]
    plan: Plan
    seconds: float
    facts: tuple[
        tuple[str, str], ...
    ]  # (name, value): the model's size, the torch build, the installation's weight
