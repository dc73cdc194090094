"""Embedding of time. Float32 whatever the compute dtype: bfloat16 cannot tell neighbouring steps apart."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.numpy import load_file
from torch import Tensor, nn

from unimm.shapes import has_values
from unimm.tables import pick

ROUNDING = 1e-6
"""How far beyond 0 or 1 a time may lie: a shift in float32 can round 1 up by 1e-7."""


@cache
def fourier_frequencies() -> Tensor:
    """Return the 256 fixed frequencies, float32.

    The published models drew them from N(0, 1) once and kept them out of their checkpoints, so
    they are shipped here as data; random streams are no stable contract.
    """
    return torch.from_numpy(load_file(Path(__file__).with_name("fourier_W.safetensors"))["W"])


@cache
def sinusoid_frequencies(count: int = 128, max_period: float = 10000.0) -> Tensor:
    """Return max_period^(-i / count) for i < count, float32 [count] (Vaswani et al. 2017; DiT, SD3).

    Computed in float32 as the published networks do: at time 999 a frequency rounded otherwise
    turns an angle by 5e-5. On the CPU whatever device is current.
    """
    places = torch.arange(count, dtype=torch.float32, device="cpu")
    return torch.exp(-math.log(max_period) * places / count)


def fourier_features(t: Tensor, frequencies: Tensor) -> Tensor:
    """Return [sin | cos] of 2 pi t f, float32 [B 2F], from t [B] and frequencies [F]."""
    angle = 2 * math.pi * t[:, None] * frequencies
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def sinusoid_features(t: Tensor, frequencies: Tensor) -> Tensor:
    """Return [cos | sin] of t f, float32 [B 2F], from t [B] and frequencies [F]."""
    angle = t[:, None] * frequencies
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


@dataclass(frozen=True)
class TimeKind:
    """One way to turn a time into numbers."""

    frequencies: Callable[[], Tensor]
    """() -> float32 [F], the published ones; a body may hold others, if its checkpoint carries them."""
    features: Callable[[Tensor, Tensor], Tensor]
    """(t [B], frequencies [F]) -> float32 [B 2F]"""


TIME_KINDS = {
    "fourier": TimeKind(fourier_frequencies, fourier_features),
    "sinusoid": TimeKind(sinusoid_frequencies, sinusoid_features),
}
"""fourier: Scale-RAE and RAE, 256 random frequencies. sinusoid: DiT, SiT, LightningDiT, SD3, 128 of them."""


def time_kind(kind: str) -> TimeKind:
    """Return the row of TIME_KINDS.

    Raises:
        ValueError: no such kind; the nearest is suggested.
    """
    return pick("time", kind, TIME_KINDS)


class TimeEmbedding(nn.Module):
    """Linear - SiLU - Linear over the features of a time."""

    def __init__(
        self,
        width: int,
        kind: str = "fourier",
        *,
        scale: float = 1.0,
        reversed: bool = False,
        num_frequencies: int | None = None,
    ):
        """Build the two layers.

        Args:
            width: Z, what forward gives.
            kind: a row of TIME_KINDS.
            scale: what the network's time is multiplied by; 1000 for SD3, 1 for the others.
            reversed: feed 1 - t, for networks published with t = 0 as noise (LightningDiT, SiT). Only
                time turns here; the sign of the velocity is the converter's affair.
            num_frequencies: F where the body brings other frequencies than the published ones.
        """
        super().__init__()
        self.kind, self.scale, self.reversed = time_kind(kind), scale, reversed
        count = len(self.kind.frequencies()) if num_frequencies is None else num_frequencies
        self.hidden = Float32Linear(2 * count, width)
        self.out = Float32Linear(width, width)

    def forward(self, t: Tensor, frequencies: Tensor) -> Tensor:
        """Return float32 [B Z] from t [B] in [0, 1], 1 is noise; frequencies [F] are those of the kind.

        Raises:
            ValueError: t outside [0, 1], or NaN; on the CPU, outside compiled graphs.
        """
        refuse_strange_times(t)
        # The meta device, where sizes are counted, has no autocast to switch off.
        with nullcontext() if t.is_meta else torch.autocast(t.device.type, enabled=False):
            t = 1 - t.float() if self.reversed else t.float()
            features = self.kind.features(self.scale * t, frequencies)
            return self.out(F.silu(self.hidden(features)))


class Float32Linear(nn.Linear):
    """A linear layer that computes in float32 whatever its weights are stored in.

    It has a forward of its own because offloading brings a layer's weights when that is called.
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.float(), self.weight.float(), self.bias.float())


def refuse_strange_times(t: Tensor) -> None:
    """Raise a ValueError unless all times [B] are in [0, 1], up to rounding."""
    if not has_values(t):
        return
    low, high = (float(end) for end in t.aminmax())
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):
        raise ValueError(
            f"t: expected times in [0, 1] (0 data, 1 noise), got {low:g} to {high:g}; published timesteps of "
            "0 to 1000 are divided by 1000"
        )
