"""Drawings with their scores and the truth about them, and what maps between the two are worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from unimm.evaluation.calibration.settings import Settings, fingerprint
from unimm.evaluation.store import Arrays, Store, stage
from unimm.evaluation.world.drawing import draw
from unimm.evaluation.world.scoring import obeyed, read_all
from unimm.model.verifying import VERIFIERS
from unimm.verify.calibration import Calibration, calibrate, log_loss
from unimm.verify.reliability import Bin, calibration_error, reliability
from unimm.world.prompts import Prompt

if TYPE_CHECKING:
    from pathlib import Path

    from unimm.model import UniMM

PART = 12  # prompts kept together
CLAIMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "p_yes": lambda scores: scores,
    "answer_logits": lambda scores: (scores > 0).astype(float),
}
"""What a raw score says as a probability, before any calibration: P(yes) itself, a yes or no as 1 or 0. The
others say nothing of the kind."""


@dataclass(frozen=True)
class Report:
    """What one verifier's calibration is worth on prompts it was not fitted on."""

    calibration: Calibration
    after: list[Bin]
    before: list[Bin] | None  # of the raw score, where it claims a probability
    log_loss: float  # nats, mean
    base_log_loss: float  # nats, of telling every drawing the share that was right in the fit's half
    ranking: float | None  # as `ranking` tells it
    n: int  # drawings reported on
    failed: int  # drawings of both halves whose score was no number; they are left out

    def stored(self) -> Calibration:
        """Return the map with what it is worth among its facts."""
        return replace(self.calibration, facts={**self.calibration.facts, **self.numbers()})

    def numbers(self) -> dict[str, Any]:
        """Return the numbers as plain values."""
        return {
            "ece_before": None if self.before is None else round(calibration_error(self.before), 4),
            "ece_after": round(calibration_error(self.after), 4),
            "log_loss": round(self.log_loss, 4),
            "base_log_loss": round(self.base_log_loss, 4),
            "ranking": None if self.ranking is None else round(self.ranking, 4),
            "n_reported": self.n,
            "failed": self.failed,
        }


def draw_and_judge(model: UniMM, settings: Settings, out: Path) -> tuple[list[Prompt], Arrays]:
    """Draw every candidate, read it back, and let every verifier score it.

    Returns:
        the prompts; right [P n] bool, and scores [P n] under each verifier's name.
    """
    asked, _ = settings.asked()
    store = Store(out / "parts" / fingerprint(model, settings))

    def make(piece: Sequence[Prompt], start: int) -> Arrays:
        seeds = [settings.first_seed(start + place) for place in range(len(piece))]
        latents, pictures = draw(model, piece, seeds, settings.candidates, settings)
        texts = [prompt.text for prompt in piece for _ in range(settings.candidates)]
        scores = {name: np.array(model.verify(latents, texts, name)) for name in VERIFIERS}
        arrays = {"pictures": pictures, **scores}
        shape = len(piece), settings.candidates
        return {name: array.reshape(*shape, *array.shape[1:]) for name, array in arrays.items()}

    with stage("drawing and judging", len(asked)) as advance:
        arrays = store.collect("drawings", asked, PART, make, advance)
    pictures = arrays.pop("pictures")
    scenes = read_all(pictures.reshape(-1, *pictures.shape[2:]), "reading drawings")
    each = [prompt for prompt in asked for _ in range(settings.candidates)]
    return asked, {"right": obeyed(each, scenes).reshape(pictures.shape[:2]), **arrays}


def report_on(name: str, arrays: Arrays, fitted: Sequence[bool], facts: Mapping[str, Any]) -> Report:
    """Fit a verifier's map on one half of the prompts and return what it is worth on the other.

    Args:
        name: the verifier.
        arrays: right [P n], and scores [P n] under the name.
        fitted: whether each prompt belongs to the half that is fitted on, [P].
        facts: kept with the map.

    Raises:
        ValueError: too few scores that are numbers.
    """
    scores, right = arrays[name].ravel(), arrays["right"].ravel().astype(float)
    number = arrays["right"].shape[1]
    group, in_fit = np.arange(len(fitted)).repeat(number), np.array(fitted).repeat(number)
    usable = np.isfinite(scores)
    fit, rest = usable & in_fit, usable & ~in_fit
    if not fit.any() or not rest.any():
        raise ValueError(f"{name}: expected scores that are numbers in both halves, got none in one")
    found = calibrate(scores[fit], right[fit], group[fit], facts)
    told, base = found(scores[rest]), np.full(rest.sum(), (right[fit].sum() + 1) / (fit.sum() + 2))
    claim = CLAIMS.get(name)
    return Report(
        found,
        reliability(told, right[rest]),
        None if claim is None else reliability(claim(scores[rest]), right[rest]),
        float(log_loss(told, right[rest]).mean()),
        float(log_loss(base, right[rest]).mean()),
        ranking(scores[rest], right[rest]),
        int(rest.sum()),
        int((~usable).sum()),
    )


def ranking(scores: np.ndarray, right: np.ndarray) -> float | None:
    """Return how probable it is that a right drawing has a higher score than a wrong one; ties count half.

    0.5 is chance (the area under the ROC curve); None where all are right or all are wrong.
    """
    good, bad = scores[right == 1], scores[right == 0]
    if not len(good) or not len(bad):
        return None
    return float(((good[:, None] > bad) + 0.5 * (good[:, None] == bad)).mean())
