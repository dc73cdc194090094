"""Loss weights of the unified framework, each as the weight of a plain velocity error.

Esser et al. 2024, sections 2 and 3: every diffusion loss is `-1/2 E_t[w_t lambda'_t |eps' - eps|^2]`, a
weighting of the noise error over the log-SNR lambda. On the straight path, where the noise error is (1 - t)
times the velocity error, it becomes `E_t[w_t (1 - t) / t |v' - v|^2]` with t uniform. So each published
formulation is one function of t here, and one loss serves them all. Weights are as in the
paper, not normalised.

All functions take t of any shape in (0, 1), and return the weight in the dtype of t. t is the time
trained, after any shift.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache

import torch
from torch import Tensor

from unimm.flow import density
from unimm.flow.checks import refuse_unused
from unimm.tables import pick

EDM_SIGMA_DATA = 0.5
"""The standard deviation of the data that EDM's preconditioning assumes (Karras et al. 2022)."""

NEAREST = 2.0**-24
"""How near weights are asked for at 0 and 1, where most are 0 times infinity."""


def log_snr(t: Tensor) -> Tensor:
    """Return lambda = 2 log((1 - t) / t), the log-SNR of the straight path; +inf at t = 0, -inf at t = 1."""
    return 2 * (torch.log1p(-t) - torch.log(t))


def from_noise_weight(w: Tensor, t: Tensor) -> Tensor:
    """Return w (1 - t) / t: the weight of the velocity error for a weight w of the noise error."""
    return w * (1 - t) / t


def rf(t: Tensor) -> Tensor:
    """Return 1: the rectified flow itself, w_t = t / (1 - t)."""
    return torch.ones_like(t)


def edm_noise_weight(lam: Tensor, mean: float = -1.2, std: float = 1.2) -> Tensor:
    """Return N(lambda; -2 mean, (2 std)^2) (e^-lambda + 0.5^2): EDM's w with log sigma ~ N(mean, std^2)."""
    z = (lam + 2 * mean) / (2 * std)
    pdf = torch.exp(-0.5 * z * z) / (2 * std * math.sqrt(2 * math.pi))
    return pdf * (torch.exp(-lam) + EDM_SIGMA_DATA**2)


def edm(t: Tensor, mean: float = -1.2, std: float = 1.2) -> Tensor:
    """Return the weight of EDM with P_mean = mean and P_std = std (Karras et al. 2022)."""
    return from_noise_weight(edm_noise_weight(log_snr(t), mean, std), t)


def cosine_eps(t: Tensor) -> Tensor:
    """Return the weight of a noise loss on the cosine schedule, w = sech(lambda / 2)."""
    return from_noise_weight(1 / torch.cosh(log_snr(t) / 2), t)


def cosine_v(t: Tensor) -> Tensor:
    """Return the weight of a v loss on the cosine schedule, w = e^(-lambda / 2): 1 in w_t (1 - t) / t."""
    return from_noise_weight(torch.exp(-log_snr(t) / 2), t)


def linear_eps(t: Tensor) -> Tensor:
    """Return the weight of DDPM's noise loss: beta linear, 1e-4 to 0.02 in 1000 steps (Ho et al. 2020)."""
    return from_noise_weight(_schedule_noise_weight(log_snr(t), _ddpm_schedule(t.device)), t)


def linear_v(t: Tensor) -> Tensor:
    """Return the weight of a v loss on DDPM's schedule."""
    return linear_eps(t) * (1 + torch.exp(-log_snr(t)))


def ldm_linear_eps(t: Tensor) -> Tensor:
    """Return the weight of LDM's noise loss: sqrt(beta) linear, 0.00085 to 0.012 (Rombach et al. 2022)."""
    return from_noise_weight(_schedule_noise_weight(log_snr(t), _ldm_schedule(t.device)), t)


def ldm_linear_v(t: Tensor) -> Tensor:
    """Return the weight of a v loss on LDM's schedule."""
    return ldm_linear_eps(t) * (1 + torch.exp(-log_snr(t)))


def diffusers_sigma_sqrt(t: Tensor) -> Tensor:
    """Return t^-2, which diffusers calls "sigma_sqrt"; it undoes `precondition_outputs` of its SD3 script."""
    return t**-2.0


def _schedule_noise_weight(lam: Tensor, schedule: tuple[Tensor, Tensor]) -> Tensor:
    """Return w(lambda) = 2 p(lambda), p the density of the log-SNRs at uniform steps; 0 beyond them."""
    lams, pdf = schedule
    place = torch.searchsorted(lams, lam.double().contiguous()).clamp(1, len(lams) - 1)
    share = (lam.double() - lams[place - 1]) / (lams[place] - lams[place - 1])
    between = torch.lerp(pdf[place - 1], pdf[place], share)
    return torch.where((share >= 0) & (share <= 1), 2 * between, 0.0).to(lam.dtype)


@cache
def _ddpm_schedule(device: torch.device) -> tuple[Tensor, Tensor]:
    return _log_snr_density(torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64, device="cpu"), device)


@cache
def _ldm_schedule(device: torch.device) -> tuple[Tensor, Tensor]:
    roots = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64, device="cpu")
    return _log_snr_density(roots.square(), device)


def _log_snr_density(betas: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the log-SNRs of a discrete schedule, rising, and the density p of each, both float64 [steps].

    Computed on the CPU, given on the device; callers keep them, so that each is copied there once.
    With a^2 = prod(1 - beta), d lambda / d log a^2 = 1 / (1 - a^2); log a^2 falls by -log(1 - beta) a step.
    """
    logs = torch.log1p(-betas)
    log_a2 = logs.cumsum(0)
    b2 = -torch.expm1(log_a2)
    fall = -torch.cat([(logs[1:] + logs[:-1]) / 2, logs[-1:]])  # half a step to either side
    lams, pdf = log_a2 - torch.log(b2), b2 / (fall * len(betas))
    return lams.flip(0).to(device), pdf.flip(0).to(device)


@dataclass(frozen=True)
class WeightKind:
    """One kind's weight of the velocity error, and which values of `Weight` it uses."""

    at: Callable[..., Tensor]
    uses: tuple[str, ...] = ()


WEIGHTS: dict[str, WeightKind] = {
    "rf": WeightKind(rf),
    "logit_normal": WeightKind(density.logit_normal_pdf, ("mean", "std")),
    "mode": WeightKind(density.mode_pdf, ("scale",)),
    "cosmap": WeightKind(density.cosmap_pdf),
    "edm": WeightKind(edm, ("mean", "std")),
    "cosine_eps": WeightKind(cosine_eps),
    "cosine_v": WeightKind(cosine_v),
    "linear_eps": WeightKind(linear_eps),
    "linear_v": WeightKind(linear_v),
    "ldm_linear_eps": WeightKind(ldm_linear_eps),
    "ldm_linear_v": WeightKind(ldm_linear_v),
    "diffusers_sigma_sqrt": WeightKind(diffusers_sigma_sqrt),
}
"""By name. A density's name weights a uniform t by its pdf, which equals drawing t from it. diffusers' own
"cosmap" is the same as this one; its "logit_normal", "mode" and "none" weigh nothing: "rf"."""


@dataclass(frozen=True)
class Weight:
    """A weight of the velocity error by kind; call it with t.

    Raises:
        ValueError: an unknown kind, a value out of range, or a value set that the kind does not use.
    """

    kind: str = "rf"
    mean: float = 0.0  # of "logit_normal" (of the logit) and "edm" (P_mean; EDM's own choice is -1.2)
    std: float = 1.0  # likewise (EDM's own P_std is 1.2)
    scale: float = 1.29  # of "mode"

    def __post_init__(self) -> None:
        refuse_unused(self, pick("weight", self.kind, WEIGHTS).uses)
        if not self.std > 0:
            raise ValueError(f"weight: expected a positive std, got {self.std}")
        density.check_mode_scale(self.scale)

    def __call__(self, t: Tensor) -> Tensor:
        """Return the weight at t, of any shape, in the dtype of t; at 0 and 1, which a draw can round to,
        that of the nearest time that float32 tells apart from them."""
        row, t = WEIGHTS[self.kind], t.clamp(NEAREST, 1 - NEAREST)
        return row.at(
            t, **{field.name: getattr(self, field.name) for field in fields(self) if field.name in row.uses}
        )
