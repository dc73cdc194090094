"""Latent statistics: the affine map between raw latents and the normalised latents of the model."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unimm.shapes import expect


class LatentStatistics(nn.Module):
    """Mean and standard deviation per token and channel; the identity until they are set."""

    def __init__(self, num_tokens: int, channels: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_tokens, channels))
        self.register_buffer("std", torch.ones(num_tokens, channels))

    def normalise(self, z: Tensor) -> Tensor:
        """Return normalised latents (z - mean) / std, float32 [B N C], of raw latents [B N C]."""
        self._check(z)
        return (z.float() - self.mean.float()) / self.std.float()

    def restore(self, z: Tensor) -> Tensor:
        """Return raw latents z std + mean, float32 [B N C], of normalised latents [B N C]."""
        self._check(z)
        return z.float() * self.std.float() + self.mean.float()

    @torch.no_grad()
    def set(self, mean: Tensor, std: Tensor) -> None:
        """Store statistics of shape [N C], or [C] for all tokens alike.

        Raises:
            ValueError: another shape, a value that is not finite, or a std that is not positive.
        """
        num_tokens, channels = self.mean.shape
        for name, value in (("mean", mean), ("std", std)):
            if value.shape not in ((num_tokens, channels), (channels,)):
                raise ValueError(
                    f"{name}: expected [{num_tokens} {channels}] or [{channels}], got {tuple(value.shape)}"
                )
            if not torch.isfinite(value).all():
                raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
        if not (std > 0).all():
            raise ValueError(
                f"std: expected positive numbers, got a minimum of {std.min().item()}; a dead channel?"
            )
        self.mean.copy_(mean.expand_as(self.mean))
        self.std.copy_(std.expand_as(self.std))

    def _check(self, z: Tensor) -> None:
        expect("latents", z, "B N C", N=self.mean.shape[0], C=self.mean.shape[1])


class Welford:
    """Running mean and variance in float64 over batches of any size (Chan et al. 1979 for the merge)."""

    def __init__(self, num_tokens: int, channels: int):
        self.count = 0
        self.mean = torch.zeros(num_tokens, channels, dtype=torch.float64)
        self.squares = torch.zeros(num_tokens, channels, dtype=torch.float64)

    @torch.no_grad()
    def update(self, z: Tensor) -> None:
        """Take in a batch of raw latents [B N C].

        Raises:
            ValueError: another shape, or a value that is not finite.
        """
        num_tokens, channels = self.mean.shape
        expect("latents", z, "B N C", N=num_tokens, C=channels)
        if not torch.isfinite(z).all():
            raise ValueError("latents: expected finite numbers, got NaN or infinity")
        z = z.detach().to("cpu", torch.float64)
        mean = z.mean(0)
        self._merge(z.shape[0], mean, (z - mean).square().sum(0))

    def merge(self, other: Welford) -> None:
        """Take in everything another accumulator has seen."""
        self._merge(other.count, other.mean, other.squares)

    def result(self, eps: float = 1e-5, per_token: bool = True) -> tuple[Tensor, Tensor]:
        """Return float32 mean and std = sqrt(variance + eps): [N C], or [C] pooled over tokens.

        Raises:
            ValueError: fewer than two latents seen.
        """
        if self.count < 2:
            raise ValueError(f"statistics: expected at least 2 latents, got {self.count}")
        mean, variance = self.mean, self.squares / self.count
        if not per_token:
            variance = variance.mean(0) + mean.var(0, unbiased=False)
            mean = mean.mean(0)
        return mean.float(), (variance + eps).sqrt().float()

    def _merge(self, count: int, mean: Tensor, squares: Tensor) -> None:
        if not count:
            return
        total = self.count + count
        delta = mean - self.mean
        self.squares = self.squares + squares + delta.square() * (self.count * count / total)
        self.mean = self.mean + delta * (count / total)
        self.count = total
