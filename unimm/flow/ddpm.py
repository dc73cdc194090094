"""Velocities of networks that were trained to tell the noise on DDPM's chain, such as the original DiT."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

STEPS = 1000
BETAS = (1e-4, 0.02)
"""Noise added by the first and the last step, linear between (Ho et al. 2020)."""


@cache
def chain_ratios() -> Tensor:
    """Return sigma / alpha after each step of the chain, float64 [1000], rising from 0.01 to 157."""
    alpha_squared = (1 - torch.linspace(*BETAS, STEPS, dtype=torch.float64, device="cpu")).cumprod(0)
    return (1 / alpha_squared - 1).sqrt()


@cache
def log_ratios(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the logs of `chain_ratios` where they are looked up at every step; copied there once."""
    return chain_ratios().log().to(device, dtype)


def chain_times() -> Tensor:
    """Return the time of equal sigma / alpha on the straight path, for each step: 0.0099 to 0.9937."""
    ratios = chain_ratios()
    return ratios / (1 + ratios)


def step_of(t: Tensor) -> Tensor:
    """Return the step, a fraction in [0, 999], at which the chain is as noisy as time t [B] is.

    Between steps linear in the log-ratio; times beyond the chain's ends get the end.
    """
    ratios = log_ratios(t.dtype, t.device)
    wanted = (t / (1 - t)).log()
    above = torch.searchsorted(ratios, wanted.contiguous()).clamp(1, STEPS - 1)
    share = (wanted - ratios[above - 1]) / (ratios[above] - ratios[above - 1])
    return above - 1 + share.clamp(0, 1)


def ddpm_velocity(
    noise: Callable[[Tensor, Tensor], Tensor],
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the velocity on the straight path, v = (e - x_t) / (1 - t), of a network that tells the noise.

    Where signal and noise stand in the same ratio, a point of the chain is a point of the straight path
    divided by sqrt((1 - t)^2 + t^2). So any solver here samples such a network; at times beyond the chain's
    ends it is asked, and believed, as at the end.

    Args:
        noise: `f(x [B ...] on the chain, u [B]) -> e`, u = step / 999 in [0, 1], as SiT with time_scale 999
            takes it.
    """
    ends = chain_times()[[0, -1]].tolist()

    def velocity(x_t: Tensor, t: Tensor) -> Tensor:
        t = t.clamp(*ends)
        alpha = (1 - t).reshape(-1, *[1] * (x_t.dim() - 1))
        on_chain = x_t / (alpha.square() + (1 - alpha).square()).sqrt()
        return (noise(on_chain, step_of(t) / (STEPS - 1)).to(x_t.dtype) - x_t) / alpha

    return velocity
