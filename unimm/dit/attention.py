"""Self-attention over latent tokens, and every way to compute it."""

from __future__ import annotations

import difflib
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from unimm.dit.norms import RMSNorm
from unimm.dit.rope import leave, rotate

SHORT = 128
"""Tokens up to which a CPU trains faster without the fused kernel: 4x at 25 tokens in bfloat16."""

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(q, k, v), all [B heads N head_dim] -> softmax(q k' / sqrt(head_dim)) v, of the same shape."""


class Attention(nn.Module):
    """Full attention with fused q, k, v and biases everywhere; each head's q and k normed where asked."""

    def __init__(
        self, width: int, heads: int, qk_norm: bool = False, rope: bool = True, attention: str = "auto"
    ):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.q_norm, self.k_norm = (HEAD_NORMS[qk_norm](width // heads) for _ in range(2))
        self.out = nn.Linear(width, width)
        self.turn = TURNS[rope]
        self.attend = attention_kind(attention)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return [B N W] from x [B N W]; cos and sin are the rotary tables [N head_dim/2]."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        q, k = self.q_norm(q), self.k_norm(k)
        attended = self.attend(self.turn(q, cos, sin), self.turn(k, cos, sin), v)
        return self.out(attended.transpose(1, 2).flatten(2))


HEAD_NORMS = {True: RMSNorm, False: nn.Identity}
TURNS = {True: rotate, False: leave}


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return softmax(q k' / sqrt(head_dim)) v, all [B heads N head_dim], the way that is fast here."""
    if q.device.type == "cpu" and q.requires_grad and k.shape[-2] <= SHORT:
        return attend_plainly(q, k, v)
    return F.scaled_dot_product_attention(q, k, v)


def attend_plainly(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same as two matrix products and a float32 softmax."""
    scores = (q * q.shape[-1] ** -0.5) @ k.mT
    return scores.float().softmax(-1).to(v.dtype) @ v


def attend_by_flash_attn(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same by the flash-attn package, whose tensors are [B N heads head_dim].

    Raises:
        ValueError: it refuses them: its kernels take float16 and bfloat16 on a GPU only.
    """
    swapped = (x.transpose(1, 2) for x in (q, k, v))
    try:
        return _flash_attn_func()(*swapped).transpose(1, 2)
    except RuntimeError as error:
        if q.is_cuda and q.dtype in (torch.float16, torch.bfloat16):
            raise
        raise ValueError(
            "attention: flash-attn takes float16 and bfloat16 on a GPU, got "
            f"{q.dtype} on {q.device.type}; use autocast, or set attention to 'auto'"
        ) from error


def attend_by(backend: SDPBackend) -> Attend:
    """Return PyTorch's attention held to one of its backends."""

    def attend_there(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        try:
            with sdpa_kernel(backend):
                return F.scaled_dot_product_attention(q, k, v)
        except RuntimeError as error:
            if "backend" not in str(error) and "kernel" not in str(error):
                raise
            raise ValueError(
                f"attention: PyTorch's {backend.name} does not run here, on {q.device.type} in {q.dtype} "
                f"with heads of width {q.shape[-1]}; set attention to 'auto'"
            ) from error

    return attend_there


BACKENDS = {
    "math": SDPBackend.MATH,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
}
"""PyTorch's own; which of them run depends on device, dtype and shape."""

ATTENTIONS: dict[str, Attend] = {
    "auto": attend,
    "explicit": attend_plainly,
    **{kind: attend_by(backend) for kind, backend in BACKENDS.items()},
    "flash_attn": attend_by_flash_attn,
}
"""Ways to attend; they agree up to rounding."""


def attention_kind(kind: str) -> Attend:
    """Return the row of ATTENTIONS.

    Raises:
        ValueError: no such kind (the nearest is suggested), or the flash-attn package is not installed.
    """
    if kind not in ATTENTIONS:
        near = difflib.get_close_matches(kind, ATTENTIONS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"attention: expected one of {', '.join(ATTENTIONS)}, got {kind!r}{hint}")
    if kind == "flash_attn":
        _flash_attn_func()
    return ATTENTIONS[kind]


def _flash_attn_func() -> Callable[..., Tensor]:
    try:
        from flash_attn import flash_attn_func
    except ImportError as error:
        raise ValueError(
            "attention: 'flash_attn' needs the flash-attn package, which is not installed; install "
            "unimm[flash] on a machine with a GPU, or set attention to 'auto'"
        ) from error
    return flash_attn_func
