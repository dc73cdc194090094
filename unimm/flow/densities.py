"""A density of training times chosen by kind, as recipes do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from unimm.flow import density
from unimm.flow.checks import refuse_unused
from unimm.tables import pick


@dataclass(frozen=True)
class DensityKind:
    """How one kind draws, its pdf, and which values of `Density` it uses."""

    draw: Callable[..., Tensor]
    pdf: Callable[..., Tensor]
    uses: tuple[str, ...] = ()


DENSITIES: dict[str, DensityKind] = {
    "uniform": DensityKind(density.uniform, density.uniform_pdf),
    "logit_normal": DensityKind(density.logit_normal, density.logit_normal_pdf, ("mean", "std")),
    "mode": DensityKind(density.mode, density.mode_pdf, ("scale",)),
    "cosmap": DensityKind(density.cosmap, density.cosmap_pdf),
    "truncated_uniform": DensityKind(density.truncated_uniform, density.truncated_uniform_pdf, ("highest",)),
    "truncated_logit_normal": DensityKind(
        density.truncated_logit_normal, density.truncated_logit_normal_pdf, ("mean", "std", "highest")
    ),
}
"""By name: SD3's four, and RAE's two that stop short of pure noise."""


@dataclass(frozen=True)
class Density:
    """A density of t: `draw` samples it, `pdf` evaluates it.

    Raises:
        ValueError: an unknown kind, a value out of range, or a value set that the kind does not use.
    """

    kind: str = "logit_normal"
    mean: float = 0.0  # of the logit; > 0 favours noise
    std: float = 1.0  # of the logit
    scale: float = 1.29  # of "mode", in [-1, 1.7519]; > 0 favours the middle (Esser et al. 2024, table 1)
    highest: float = density.RAE_HIGHEST  # where the truncated kinds stop

    def __post_init__(self) -> None:
        refuse_unused(self, pick("density", self.kind, DENSITIES).uses)
        if not self.std > 0:
            raise ValueError(f"density: expected a positive std, got {self.std}")
        if not 0 < self.highest < 1:
            raise ValueError(f"density: expected highest between 0 and 1, got {self.highest}")
        density.check_mode_scale(self.scale)

    def draw(self, count: int, *, generator: torch.Generator, device: torch.device | str = "cpu") -> Tensor:
        """Draw times, float32 [count] in [0, 1]."""
        return DENSITIES[self.kind].draw(count, **self._values(), generator=generator, device=device)

    def pdf(self, t: Tensor) -> Tensor:
        """Return the density at t, of any shape, in the dtype of t."""
        return DENSITIES[self.kind].pdf(t, **self._values())

    def _values(self) -> dict[str, float]:
        used = DENSITIES[self.kind].uses
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name in used}
