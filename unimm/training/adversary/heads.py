"""The trainable heads of the discriminator (Sauer et al. 2023): convolutions along the tokens."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Head(nn.Module):
    """Features of one depth to one logit per token."""

    def __init__(self, width: int, kernel: int):
        super().__init__()
        self.embed = Layer(width, kernel=1)
        self.mix = Layer(width, kernel)
        self.out = SpectralConv(width, 1, kernel=1)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits [B N] from features [B W N]."""
        h = self.embed(features)
        h = (self.mix(h) + h) / math.sqrt(2)
        return self.out(h)[:, 0]


class Layer(nn.Module):
    """Convolution, norm over the tokens, LeakyReLU."""

    def __init__(self, width: int, kernel: int):
        super().__init__()
        self.conv = SpectralConv(width, width, kernel)
        self.norm = TokenNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(self.conv(x)), 0.2)


class TokenNorm(nn.Module):
    """Each channel of each picture to mean 0, variance 1 over its tokens; then a learned affine.

    A batch norm whose batch is one picture: what one picture scores does not depend on its neighbours.
    """

    def __init__(self, width: int, eps: float = 1e-6):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return [B W N] of [B W N], in float32."""
        x = x.float()
        variance, mean = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
        return (x - mean) / (variance + self.eps).sqrt() * self.weight[:, None] + self.bias[:, None]


class SpectralConv(nn.Module):
    """A circular convolution along the tokens whose weight is divided by its largest singular value.

    Miyato et al. 2018, algorithm 1: the singular vectors are stored and refined by one step of power
    iteration in each training forward; in evaluation they are used as they are. The right vector is
    refined first, as the published checkpoints expect (torch's newer parametrisation begins with the left).
    """

    def __init__(self, width: int, out_width: int, kernel: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_width, width, kernel))
        self.bias = nn.Parameter(torch.empty(out_width))
        self.register_buffer("left", torch.empty(out_width))
        self.register_buffer("right", torch.empty(width * kernel))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Set weight and bias as torch's convolutions do, both vectors to random unit ones."""
        bound = 1 / math.sqrt(self.weight[0].numel())
        for parameter in (self.weight, self.bias):
            nn.init.uniform_(parameter, -bound, bound)
        for vector in (self.left, self.right):
            vector.copy_(_unit(torch.randn_like(vector)))

    def forward(self, x: Tensor) -> Tensor:
        """Return [B W' N] of [B W N]."""
        matrix = self.weight.flatten(1)
        with torch.autocast(
            x.device.type, enabled=False
        ):  # eight bits would be too few for the largest value
            if self.training:
                self._refine(matrix)
            # Copies: a second forward before the backward pass refines the vectors in place.
            norm = self.left.clone() @ (matrix @ self.right.clone())
        reach = self.weight.shape[-1] // 2
        if reach:
            x = F.pad(x, (reach, reach), mode="circular")
        return F.conv1d(x, self.weight / norm, self.bias)

    @torch.no_grad()
    def _refine(self, matrix: Tensor) -> None:
        self.right.copy_(_unit(matrix.mT @ self.left))
        self.left.copy_(_unit(matrix @ self.right))


def _unit(vector: Tensor) -> Tensor:
    return F.normalize(vector, dim=0, eps=1e-12)
