"""How a body is asked, and how what it puts out becomes a velocity on the straight path."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from unimm.flow.ddpm import ddpm_velocity
from unimm.flow.prediction import PREDICTIONS

Ask = Callable[[Tensor, Tensor], Tensor]
"""`ask(x [B ...], t [B])`: a body's output, its conditions given."""


def asked_on_the_path(meaning: Callable[[Tensor, Tensor, Tensor], Tensor], ask: Ask) -> Ask:
    """Return the velocity of a body that is asked on the straight path; `meaning` is a row of PREDICTIONS."""
    return lambda x_t, t: meaning(ask(x_t, t), x_t, t)


VELOCITIES: dict[str, Callable[[Ask], Ask]] = {
    **{name: partial(asked_on_the_path, meaning) for name, meaning in PREDICTIONS.items()},
    "ddpm": ddpm_velocity,
}
"""By name: the rows of PREDICTIONS, and "ddpm", the noise on DDPM's chain of 1000 steps (the original DiT),
whose body is asked at the point and the step of the chain that are as noisy as x_t."""
