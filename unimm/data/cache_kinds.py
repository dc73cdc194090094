"""How latents are written down: bfloat16, or eight bits with a scale for each token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

LEVELS = 127
"""Of an int8 on either side of zero; -128 is not used, so that both sides are alike."""


@dataclass(frozen=True)
class Kind:
    """One way to write latents down, a record of fixed size for each sample."""

    record: Callable[[int, int], np.dtype]
    """`record(N, C)`: what a sample's record holds."""
    pack: Callable[[Tensor, np.dtype], np.ndarray]
    """`pack(latents [B N C], record) -> [B]`."""
    unpack: Callable[[np.ndarray], Tensor]
    """`unpack([B]) -> latents [B N C]`, float32."""
    measured: bool
    """Whether what it loses is measured and kept beside it. bfloat16 loses at most 2^-9 of each number."""


def _bf16_record(tokens: int, channels: int) -> np.dtype:
    return np.dtype([("numbers", "<i2", (tokens, channels))])


def _bf16_pack(latents: Tensor, record: np.dtype) -> np.ndarray:
    packed = np.empty(len(latents), record)
    packed["numbers"] = latents.to(torch.bfloat16).contiguous().view(torch.int16).numpy()
    return packed


def _bf16_unpack(records: np.ndarray) -> Tensor:
    bits = records["numbers"].astype(np.int16)  # NumPy has no bfloat16: the same bits
    return torch.from_numpy(bits).view(torch.bfloat16).float()


def _int8_record(tokens: int, channels: int) -> np.dtype:
    return np.dtype([("scales", "<f4", (tokens,)), ("numbers", "i1", (tokens, channels))])


def _int8_pack(latents: Tensor, record: np.dtype) -> np.ndarray:
    """Round each number to one of 255 levels between minus and plus the largest of its token."""
    latents = latents.float()
    scales = latents.abs().amax(-1) / LEVELS
    levels = (latents / scales.clamp_min(torch.finfo(torch.float32).tiny)[..., None]).nan_to_num(0.0)
    packed = np.empty(len(latents), record)
    packed["scales"] = scales.numpy()
    packed["numbers"] = levels.round().clamp(-LEVELS, LEVELS).to(torch.int8).numpy()
    return packed


def _int8_unpack(records: np.ndarray) -> Tensor:
    scales = torch.from_numpy(records["scales"].astype(np.float32))
    numbers = torch.from_numpy(records["numbers"].copy())
    return numbers.float() * scales[..., None]


KINDS: dict[str, Kind] = {
    "bf16": Kind(_bf16_record, _bf16_pack, _bf16_unpack, measured=False),
    "int8": Kind(_int8_record, _int8_pack, _int8_unpack, measured=True),
}
"""A kind's name is also the ending of its files. NaN, the mark of a picture that is none, survives both."""


@dataclass
class Loss:
    """What writing latents down has cost."""

    squares: float = 0.0
    """Sum of the latents' squares."""
    squared_errors: float = 0.0
    largest_error: float = 0.0

    def add(self, latents: Tensor, kept: Tensor) -> None:
        """Compare latents [B N C] with what is read back of them; what is no number does not count."""
        error = (kept - latents.float()).nan_to_num(0.0)
        self.squares += float(latents.double().nan_to_num(0.0).square().sum())
        self.squared_errors += float(error.double().square().sum())
        self.largest_error = max(self.largest_error, float(error.abs().max()))

    def plus(self, other: Loss) -> Loss:
        """Return the cost of both."""
        return Loss(
            self.squares + other.squares,
            self.squared_errors + other.squared_errors,
            max(self.largest_error, other.largest_error),
        )

    @property
    def relative(self) -> float:
        """Root mean square of the errors over that of the latents."""
        return (self.squared_errors / self.squares) ** 0.5 if self.squares else 0.0
