"""Latent statistics: the affine map between raw latents and the normalised latents of the model.

Measured exactly (`Welford`), by the published running rule (`Momentum`), or read from published numbers,
which come in three forms (`FORMS`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from unimm.shapes import expect

EPS = 1e-5
"""What the published code adds to a variance (RAE) or to a std (diffusers) before it divides."""


class LatentStatistics(nn.Module):
    """Mean and standard deviation per token and channel; the identity until they are set."""

    def __init__(self, num_tokens: int, channels: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_tokens, channels))
        self.register_buffer("std", torch.ones(num_tokens, channels))

    def normalise(self, z: Tensor) -> Tensor:
        """Return normalised latents (z - mean) / std, float32 [B N C], of raw latents [B N C]."""
        self._check(z)
        mean, std = self.mean.to(z.device).float(), self.std.to(z.device).float()
        return (z.float() - mean) / std

    def restore(self, z: Tensor) -> Tensor:
        """Return raw latents z std + mean, float32 [B N C], of normalised latents [B N C]."""
        self._check(z)
        mean, std = self.mean.to(z.device).float(), self.std.to(z.device).float()
        return z.float() * std + mean

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


Form = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]

FORMS: dict[str, Form] = {
    # name: (published number -> our std, our std -> published number); both sides share the mean
    "variance": (lambda x: (x + EPS).sqrt(), lambda x: x.square() - EPS),  # RAE's stat.pt
    "std_plus_eps": (lambda x: x + EPS, lambda x: x - EPS),  # diffusers' AutoencoderRAE
    "std": (lambda x: x, lambda x: x),  # LightningDiT's latents_stats.pt
}
"""What a published file holds beside the mean, by kind. Converted in float64, so that both ways agree."""


def published_statistics(
    mean: Tensor | None, spread: Tensor | None, form: str = "variance"
) -> tuple[Tensor, Tensor]:
    """Return float32 (mean, std), each [N C] or [C], as `LatentStatistics.set` takes them.

    Args:
        mean: [C H W], [1 C H W] or [C] as published, a map or one for all tokens; None stands for 0
            (the released statistics of DINOv2-B hold no mean, and its DiTs were trained so).
        spread: variance or std of such a shape, as `form` says; None stands for 1.
        form: a name in FORMS.

    Raises:
        ValueError: an unknown form, both absent, or another shape.
    """
    if form not in FORMS:
        raise ValueError(f"statistics form: expected one of {', '.join(FORMS)}, got {form!r}")
    given = mean if spread is None else spread
    if given is None:
        raise ValueError("statistics: expected a mean or a spread, got neither")
    mean = tokens_of(torch.zeros_like(given) if mean is None else mean)
    spread = tokens_of(torch.ones_like(given) if spread is None else spread)
    return mean.float(), FORMS[form][0](spread.double()).float()


def tokens_of(maps: Tensor) -> Tensor:
    """Return [N C] in reading order of maps [C H W] or [1 C H W]; [C] where they are the same everywhere.

    Raises:
        ValueError: another shape.
    """
    shape = tuple(maps.shape)
    if maps.ndim == 4 and shape[0] == 1:
        maps = maps[0]
    if maps.ndim == 1:
        return maps
    if maps.ndim != 3:
        raise ValueError(f"statistics: expected [C H W], [1 C H W] or [C], got shape {shape}")
    tokens = maps.flatten(1).mT
    return tokens[0] if len(tokens) == 1 else tokens


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
        z = _checked(z, self.mean).to("cpu", torch.float64)
        mean = z.mean(0)
        self._merge(z.shape[0], mean, (z - mean).square().sum(0))

    def merge(self, other: Welford) -> None:
        """Take in everything another accumulator has seen."""
        self._merge(other.count, other.mean, other.squares)

    def result(self, eps: float = EPS, per_token: bool = True) -> tuple[Tensor, Tensor]:
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


class Momentum:
    """The published running mean and variance (RAE's statistics script). The order of batches matters.

    It weighs the last ten batches most and starts from mean 0 and variance 1, which fade slowly: for numbers
    that are compared with the published ones. `Welford` is the exact count.
    """

    def __init__(self, num_tokens: int, channels: int, momentum: float = 0.1):
        if not 0 < momentum <= 1:
            raise ValueError(f"momentum: expected a number in (0, 1], got {momentum}")
        self.momentum = momentum
        self.mean = torch.zeros(num_tokens, channels)
        self.variance = torch.ones(num_tokens, channels)

    @torch.no_grad()
    def update(self, z: Tensor) -> None:
        """Take in a batch of raw latents [B N C]; its variance is that of the batch, divided by B.

        Raises:
            ValueError: another shape, or a value that is not finite.
        """
        z = _checked(z, self.mean).to("cpu", torch.float32)
        self.mean = torch.lerp(self.mean, z.mean(0), self.momentum)
        self.variance = torch.lerp(self.variance, z.var(0, unbiased=False), self.momentum)

    @staticmethod
    def of_ranks(ranks: Sequence[Momentum]) -> Momentum:
        """Return what the published code makes of all ranks.

        The mean is the mean of means, the variance the mean of variances plus the variance of means.
        """
        means = torch.stack([rank.mean for rank in ranks])
        variances = torch.stack([rank.variance for rank in ranks])
        merged = Momentum(*ranks[0].mean.shape, ranks[0].momentum)
        merged.mean = means.mean(0)
        merged.variance = variances.mean(0) + means.var(0, unbiased=False)
        return merged

    def result(self, eps: float = EPS) -> tuple[Tensor, Tensor]:
        """Return float32 mean and std = sqrt(variance + eps), each [N C]."""
        return self.mean, (self.variance + eps).sqrt()


def _checked(z: Tensor, like: Tensor) -> Tensor:
    expect("latents", z, "B N C", N=like.shape[0], C=like.shape[1])
    if not torch.isfinite(z).all():
        raise ValueError("latents: expected finite numbers, got NaN or infinity")
    return z.detach()
