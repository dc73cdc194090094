"""Self-attention of encoder and decoder, and the same for the towers that come from transformers."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

SHORT = 128
"""Tokens up to which a CPU trains faster without the fused kernel: 4x at 25 tokens in bfloat16."""


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return softmax(q k' / sqrt(head_dim)) v, all [B heads N head_dim]."""
    if q.device.type == "cpu" and q.requires_grad and k.shape[-2] <= SHORT:
        scores = (q * q.shape[-1] ** -0.5) @ k.mT
        return scores.float().softmax(-1).to(v.dtype) @ v
    return F.scaled_dot_product_attention(q, k, v)


def attend_for_tower(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: None, **_: object
) -> tuple[Tensor, None]:
    """Speak the attention interface of transformers: full attention, [B N heads head_dim] back."""
    assert attention_mask is None, "vision towers attend to every token"
    return attend(query, key, value).transpose(1, 2), None


def use_in_tower(config) -> None:
    """Make the tower built from this transformers config attend through `attend`."""
    from transformers import AttentionInterface

    AttentionInterface.register("unimm_full", attend_for_tower)
    config._attn_implementation = "unimm_full"
