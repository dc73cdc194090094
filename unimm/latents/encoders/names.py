"""One set of names for the tensors of a tower, whichever version of transformers built it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class PresentAttention(nn.Module):
    """The layers of a DINOv2's self-attention, under the names that transformers has given them since.

    Up to 5.17 at least they were `attention.query`, `.key`, `.value` and `output.dense`. Who loads or saves
    a model may go by the attributes of its modules and not by their state dicts, so the layers change place.
    """

    def __init__(self, old: nn.Module) -> None:
        super().__init__()
        inner = old.attention
        self.q_proj, self.k_proj, self.v_proj = inner.query, inner.key, inner.value
        self.o_proj = old.output.dense
        self.heads = inner.num_attention_heads

    def forward(self, hidden_states: Tensor, **_: Any) -> Tensor:
        """Return what the old module does, [B T W] of [B T W]; neither masks nor drops anything."""
        projections = (self.q_proj, self.k_proj, self.v_proj)
        split = [x(hidden_states).unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in projections]
        return self.o_proj(scaled_dot_product_attention(*split).transpose(1, 2).flatten(2))


def use_present_names(module: nn.Module) -> None:
    """Put the present attention in the place of every old one in a module; there may be none."""
    for block in list(module.modules()):
        old = getattr(block, "attention", None)
        if hasattr(getattr(old, "attention", None), "query"):
            block.attention = PresentAttention(old)
