"""What is drawn to calibrate a model, and how much of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from unimm.model.verifying import VERIFIERS
from unimm.model.verifying.calibrated import weights_mark
from unimm.world.prompts import SPLITS, Prompt, prompts
from unimm.world.spec import FAMILIES

if TYPE_CHECKING:
    from unimm.model import UniMM

VERSION = 1  # of the rules; parts of different versions are not mixed
ROW = len(FAMILIES) * len(SPLITS)  # prompts of every family, held in and held out


@dataclass(frozen=True)
class Settings:
    """How a model is calibrated."""

    num_prompts: int = 240  # half of them for the fit; balanced over families and splits
    candidates: int = 4  # drawings per prompt
    steps: int = 50  # of the sampler
    guidance: float | None = None  # None: the model's own
    seed: int = 1  # of prompts and noise; 0 is what the score card takes

    def __post_init__(self) -> None:
        if self.num_prompts < 10 * ROW // len(SPLITS):
            least = 10 * ROW // len(SPLITS)
            raise ValueError(f"--prompts: expected at least {least}, got {self.num_prompts}")
        for name in ("candidates", "steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name}: expected at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"--seed: expected 0 or more, got {self.seed}")
        if self.guidance is not None and not 0 <= self.guidance < 1000:
            raise ValueError(f"--guidance: expected a number of at least 0, got {self.guidance}")

    def asked(self) -> tuple[list[Prompt], list[bool]]:
        """Return the prompts, and whether each belongs to the half that is fitted on.

        They come in rows of one prompt per family and split; rows go to the two halves in turn.
        """
        rows = -(-self.num_prompts // ROW)
        both = [prompts(split, rows, self.seed) for split in SPLITS]
        width = len(FAMILIES)
        chosen = [
            prompt for row in range(rows) for each in both for prompt in each[row * width : (row + 1) * width]
        ]
        fitted = [place // ROW % 2 == 0 for place in range(len(chosen))]
        return chosen[: self.num_prompts], fitted[: self.num_prompts]

    def first_seed(self, index: int) -> int:
        """Return the seed of a prompt's first drawing; its others take the numbers after it.

        Far from those of the score card, so that no drawing is both.
        """
        return 10**9 + (self.seed * 100_000 + index) * self.candidates


def fingerprint(model: UniMM, settings: Settings) -> str:
    """Return a name for weights, settings and verifiers: parts of other runs must not be mixed in."""
    what = [VERSION, asdict(settings), tuple(VERIFIERS), weights_mark(model.state_dict())]
    return hashlib.blake2b(json.dumps(what).encode(), digest_size=6).hexdigest()
