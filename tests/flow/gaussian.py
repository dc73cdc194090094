"""A case where everything is known: data N(mean, std^2), each number for itself, on the straight path."""

from __future__ import annotations

from functools import partial

MEAN, STD = 0.7, 0.5


def spread(t, std=STD):
    """Return the variance of x_t."""
    return (1 - t) ** 2 * std**2 + t**2


def velocity(x, t, mean=MEAN, std=STD):
    """Return E[e - x | x_t]; x [B ...], t [B]. E[e | x_t] - E[x | x_t], each linear in x_t - its mean."""
    t = t.reshape(-1, *[1] * (x.dim() - 1))
    off = x - (1 - t) * mean
    return (t * off - (1 - t) * std**2 * off) / spread(t, std) - mean


def score(x, t, mean=MEAN, std=STD):
    """Return the slope of the log-density of x_t."""
    t = t.reshape(-1, *[1] * (x.dim() - 1))
    return -(x - (1 - t) * mean) / spread(t, std)


narrow = partial(velocity, std=0.05)
