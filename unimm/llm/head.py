"""Cross entropy over a large vocabulary without all of its logits.

151,667 float32 numbers for each of 4,096 tokens are 2.5 GB, three times over before the gradient is done.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unimm.shapes import expect

CHUNK_NUMBERS = 2**25
"""Logits that stand in memory at once, 128 MB in float32."""

PART = 2**14
"""Rows of a product that are made at once where it must be cast before it is added."""


class TokenHead(nn.Linear):
    """The LLM's last layer: states to logits, or, given labels, to their mean cross entropy in one piece.

    Its `forward` does both because that is where engines that shard parameters put a weight together.
    """

    def forward(self, states: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return logits [... V] of states [... D]; or the mean cross entropy, nats, of K labels [K].

        Args:
            states: [... D]; [K D] where there are labels.
            labels: [K] token ids, one per state; None returns logits.
        """
        if labels is None:
            return super().forward(states)
        expect("labels", labels, "K", K=expect("states", states, "K D")["K"])
        return cross_entropy_of(states)(states, self.weight, labels)


def head_of(linear: nn.Linear) -> TokenHead:
    """Return a TokenHead that holds a linear layer's own parameter; the layer has no bias."""
    if linear.bias is not None:
        raise ValueError("lm_head: expected no bias, as Qwen2 has none")
    with torch.device("meta"):
        head = TokenHead(linear.in_features, linear.out_features, bias=False)
    head.weight = linear.weight
    return head


def cross_entropy_of(states: Tensor) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Return the function that suits where the states are: Liger's fused kernel, or chunks."""
    has_liger = states.device.type == "cuda" and importlib.util.find_spec("liger_kernel") is not None
    return fused_cross_entropy if has_liger else chunked_cross_entropy


def plain_cross_entropy(states: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """Return the same from all logits at once: what the others are compared with."""
    return F.cross_entropy(F.linear(states, weight).float(), labels)


def fused_cross_entropy(states: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross entropy by Liger's kernel (Hsu et al. 2024, arXiv 2410.10989); CUDA only."""
    from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy

    dtype = compute_dtype(states)
    return liger_fused_linear_cross_entropy(
        states.to(dtype), weight.to(dtype), labels, reduction="mean", accum_dtype=torch.float32
    ).float()


def chunked_cross_entropy(states: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross entropy, float32, of K labels, a few rows of logits at a time.

    The gradients are made on the way forward, while each chunk's logits are at hand, so nothing is computed
    twice; a second derivative there is not. Products run in the dtype of autocast, where that is on.

    Args:
        states: [K D].
        weight: [V D].
        labels: [K] int64 in 0 ... V - 1.
    """
    dtype = compute_dtype(states)
    return _Chunked.apply(states, weight, labels, dtype, max(1, CHUNK_NUMBERS // len(weight)))


def compute_dtype(states: Tensor) -> torch.dtype:
    """Return the dtype that autocast gives to matrix products here, or the states' own."""
    device = states.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states.dtype


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(ctx, states: Tensor, weight: Tensor, labels: Tensor, dtype: torch.dtype, rows: int) -> Tensor:
        wants_states, wants_weight = ctx.needs_input_grad[:2]
        cast, total = weight.to(dtype), states.new_zeros((), dtype=torch.float32)
        of_states = torch.empty_like(states) if wants_states else None
        of_weight = torch.zeros_like(weight) if wants_weight else None
        for first in range(0, len(states), rows):
            piece, right = states[first : first + rows].to(dtype), labels[first : first + rows, None]
            logits = (piece @ cast.T).float()
            norm = logits.logsumexp(-1, keepdim=True)
            total += (norm - logits.gather(1, right)).sum()
            if not (wants_states or wants_weight):
                continue
            slopes = logits.sub_(norm).exp_()  # in place: the largest thing here
            slopes.scatter_add_(1, right, slopes.new_full(right.shape, -1.0)).div_(len(states))
            slopes = slopes.to(dtype)
            if wants_states:
                of_states[first : first + rows] = slopes @ cast
            if wants_weight:
                _add_product(of_weight, slopes.T, piece)
        ctx.save_for_backward(of_states, of_weight)
        return total / len(states)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope: Tensor):
        of_states, of_weight = ctx.saved_tensors
        return tuple(None if x is None else x.mul_(slope) for x in (of_states, of_weight)) + (None,) * 3


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add left @ right to the total [V D], which may be kept more exactly than they are, a part at a time."""
    if total.dtype == left.dtype:
        total.addmm_(left, right)
        return
    for part, rows in zip(total.split(PART), left.split(PART), strict=True):
        part.add_(rows @ right)
