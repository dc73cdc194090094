"""Many candidates in, the best of them out: drawn and judged in rounds, decoded when they are chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from unimm.model.inputs import Request
from unimm.model.memory import spare_bytes, that_fit
from unimm.model.placing import device_of
from unimm.model.verifying.calibrated import calibrated_names, probabilities_of
from unimm.model.verifying.judging import Verifier, judging
from unimm.verify.best_of import Place, best_of, gap_reached, level_reached

if TYPE_CHECKING:
    from unimm.model.unimm import UniMM

Enough = Callable[[Sequence[float]], bool]


class Choice(NamedTuple):
    """The k kept candidates of each of P prompts, best first."""

    latents: Tensor  # [P k N C]
    images: Any  # what `decode` made of them
    indices: list[list[int]]  # [P][k] places among the n
    scores: list[list[float]] | None  # [P][k], NaN where the score was no number
    probabilities: list[list[float]] | None  # [P][k]; None where the verifier is not calibrated
    drawn: list[int]  # [P] how many candidates were drawn
    failed: list[Place]  # (prompt, candidate) whose score was no finite number


def choose(
    model: UniMM,
    requests: Sequence[Request],
    draw: Callable[[Sequence[Place]], Tensor],
    decode: Callable[[Tensor], Any],
    n: int,
    keep: int,
    verifier: Verifier | None,
    *,
    stop_margin: float | None = None,
    stop_probability: float | None = None,
    batch_size: int | None = None,
) -> Choice:
    """Draw n candidates for each of P requests, keep the best, and decode those alone.

    Args:
        model: who judges.
        requests: P prompts with the pictures before them; calibrations hold without any alone.
        draw: latents [M N C] of M places, (prompt, candidate).
        decode: makes pictures of the kept latents [P keep N C].
        n: candidates per prompt.
        keep: how many of them are kept.
        verifier: who chooses; None keeps all, unscored.
        stop_margin: stop drawing for a prompt when its last kept score is this far above the next.
        stop_probability: stop drawing for a prompt when this is the calibrated probability of its last kept
            candidate, or less than it.
        batch_size: candidates that are judged in one pass; None is as many as fit.

    Raises:
        ValueError: both stops, one without a choice to make or out of its range, or a verifier without a
            calibration, or pictures before a prompt, where a probability is to be reached.
    """
    calibrated = None if any(request.pictures for request in requests) else verifier
    if stop_probability is not None and calibrated is not verifier:
        raise ValueError(
            "stop_probability: nothing is calibrated for prompts with pictures; take stop_margin"
        )
    enough = _enough(model, verifier, n - keep, keep, stop_margin, stop_probability)
    judge = None if verifier is None else judging(model, requests, verifier, batch_size)

    def score(latents: Tensor, places: Sequence[Place]) -> Tensor:
        seen = model.to_seen(latents) if judge.sees else latents
        return judge(seen, [prompt for prompt, _ in places])

    settings = model.config.settings
    each = 4 * 4 * settings.num_latents * settings.dit.channels  # drawn, seen, and a copy of each
    together = that_fit(spare_bytes(device_of(model.dit)), each)
    chosen = best_of(
        draw,
        None if judge is None else score,
        decode,
        len(requests),
        n,
        keep,
        together=together,
        enough=enough,
    )
    scores = None if chosen.scores is None else chosen.scores.tolist()
    found = None if scores is None else [probabilities_of(model, calibrated, row) for row in scores]
    return Choice(
        chosen.candidates,
        chosen.decoded,
        chosen.indices.tolist(),
        scores,
        None if found is None or None in found else found,
        list(chosen.drawn),
        list(chosen.failed),
    )


def _enough(
    model: UniMM, verifier: Verifier | None, spare: int, keep: int, margin: float | None, level: float | None
) -> Enough | None:
    """Return when a prompt has been drawn often enough, or None: never before all, `spare` more than kept."""
    if margin is None and level is None:
        return None
    if verifier is None or not spare:
        raise ValueError(
            "stop_margin, stop_probability: they need a choice to make, got none; draw more with best_of"
        )
    if margin is not None and level is not None:
        raise ValueError("stop_margin, stop_probability: expected one of them, got both")
    if margin is not None:
        if not _is_number(margin) or not margin > 0:
            raise ValueError(f"stop_margin: expected a number above 0, got {margin!r}")
        return gap_reached(margin, keep)
    if not _is_number(level) or not 0 < level <= 1:
        raise ValueError(f"stop_probability: expected a number above 0 and up to 1, got {level!r}")
    if probabilities_of(model, verifier, []) is None:
        raise ValueError(
            f"stop_probability: expected a verifier that this model is calibrated for "
            f"({calibrated_names(model)}), got {verifier!r}; take stop_margin"
        )
    reached = level_reached(level, keep)
    return lambda scores: reached(probabilities_of(model, verifier, scores))


def _is_number(value: Any) -> bool:
    """Whether something is a number, NumPy's included; truth values are none."""
    return isinstance(value, Real) and not isinstance(value, bool)
