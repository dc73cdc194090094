"""What is measured and how much of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from unimm.world.spec import FAMILIES

if TYPE_CHECKING:
    from unimm.model import UniMM

VERSION = 1  # of the rules; scores of different versions do not compare
VERIFIERS = ("answer_logits", "prompt_confidence")
CANDIDATES = 16
COUNTS = (1, 2, 4, 8, 16)  # N of best of N; each divides CANDIDATES


@dataclass(frozen=True)
class Settings:
    """How a model is measured."""

    limit: int = 600  # prompts per split, balanced over the families
    steps: int = 50  # of the sampler
    guidance: float | None = None  # None: the model's own
    seed: int = 0  # of prompts, scenes, questions and noise

    def __post_init__(self) -> None:
        least = len(FAMILIES)
        if self.limit < least:
            raise ValueError(f"--limit: expected at least {least}, one prompt per family, got {self.limit}")
        if self.steps < 1:
            raise ValueError(f"--steps: expected at least 1, got {self.steps}")
        if self.seed < 0:
            raise ValueError(f"--seed: expected 0 or more, got {self.seed}")
        if self.guidance is not None and not 0 <= self.guidance < 1000:
            raise ValueError(f"--guidance: expected a number of at least 0, got {self.guidance}")

    @property
    def per_family(self) -> int:
        """Prompts per family and split."""
        return self.limit // len(FAMILIES)

    @property
    def num_best_of(self) -> int:
        """Held-in prompts that get all candidates: a third, 200 of 600."""
        return max(1, self.per_family * len(FAMILIES) // 3)

    @property
    def num_scenes(self) -> int:
        """Rendered scenes that the model is asked about."""
        return 2 * self.limit

    def first_seed(self, split: str, index: int) -> int:
        """Return the seed of a prompt's first picture; its other candidates take the numbers after it."""
        start = {"held_in": 0, "held_out": 1, "candidates": 2}[split]
        return ((self.seed * 3 + start) * 100_000 + index) * CANDIDATES


def fingerprint(model: UniMM, settings: Settings) -> str:
    """Return a name for these weights, settings and rules: parts of other runs must not be mixed in."""
    digest = hashlib.blake2b(json.dumps([VERSION, asdict(settings)]).encode(), digest_size=6)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
