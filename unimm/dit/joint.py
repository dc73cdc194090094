"""The MM-DiT block: text and image with weights of their own, in one attention (Esser et al. 2024).

Sequences of text are always full in SD3 (77 tokens of CLIP and 77 of T5, padding included and attended
to), so there is no mask.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unimm.dit.attention import HEAD_NORMS, Attention, attention_kind
from unimm.dit.blocks import GeluMLP, modulate
from unimm.dit.norms import BareLayerNorm

Heads = tuple[Tensor, Tensor, Tensor]
"""q, k, v of one stream, each [B heads L head_dim]."""


class HeadProjection(nn.Module):
    """Fused q, k, v of one stream; each head's q and k normed where asked."""

    def __init__(self, width: int, heads: int, qk_norm: bool):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.q_norm, self.k_norm = (HEAD_NORMS[qk_norm](width // heads) for _ in range(2))

    def forward(self, x: Tensor) -> Heads:
        """Return q, k, v, each [B heads L head_dim], of x [B L W]."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return self.q_norm(q), self.k_norm(k), v


class Stream(nn.Module):
    """One sequence's half of a block: what it gives to the joint attention, and what it does after it."""

    num_modulations = 6

    def __init__(self, width: int, heads: int, mlp_width: int | None, qk_norm: bool, attention: str):
        super().__init__()
        self.attention_norm = BareLayerNorm(width)
        self.projection = HeadProjection(width, heads, qk_norm)
        self.out = nn.Linear(width, width)
        self.mlp_norm = BareLayerNorm(width)
        self.mlp = GeluMLP(width, mlp_width)
        self.modulation = nn.Linear(width, self.num_modulations * width)

    def enter(self, x: Tensor, condition: Tensor) -> tuple[Heads, tuple[Tensor, ...]]:
        """Return q, k, v, and what `leave` needs, of x [B L W] and the activated condition [B 1 W]."""
        shift, scale, *rest = self.modulation(condition).chunk(self.num_modulations, dim=-1)
        return self.projection(modulate(self.attention_norm(x), shift, scale)), tuple(rest)

    def leave(self, x: Tensor, attended: Tensor, rest: tuple[Tensor, ...]) -> Tensor:
        """Return [B L W] from x as it entered and its part [B L W] of the attention."""
        gate1, shift2, scale2, gate2 = rest
        x = x + gate1 * self.out(attended)
        return x + gate2 * self.mlp(modulate(self.mlp_norm(x), shift2, scale2))


class DualStream(Stream):
    """An image stream that also attends to itself alone, beside the joint attention (SD3.5 medium)."""

    num_modulations = 9

    def __init__(self, width: int, heads: int, mlp_width: int | None, qk_norm: bool, attention: str):
        super().__init__(width, heads, mlp_width, qk_norm, attention)
        self.second = Attention(width, heads, qk_norm, rope=False, attention=attention)

    def enter(self, x: Tensor, condition: Tensor) -> tuple[Heads, tuple[Tensor, ...]]:
        modulations = self.modulation(condition).chunk(self.num_modulations, dim=-1)
        shift, scale, *rest, shift3, scale3, gate3 = modulations
        normed = self.attention_norm(x)
        alone = gate3 * self.second(modulate(normed, shift3, scale3), x, x)  # no rotary tables
        return self.projection(modulate(normed, shift, scale)), (*rest, alone)

    def leave(self, x: Tensor, attended: Tensor, rest: tuple[Tensor, ...]) -> Tensor:
        *rest, alone = rest
        return super().leave(x + alone, attended, tuple(rest))


class LastStream(nn.Module):
    """Text in the last block: it is attended to and ends there, so it has no output and no MLP."""

    def __init__(self, width: int, heads: int, mlp_width: int | None, qk_norm: bool, attention: str):
        super().__init__()
        self.attention_norm = BareLayerNorm(width)
        self.projection = HeadProjection(width, heads, qk_norm)
        self.modulation = nn.Linear(width, 2 * width)

    def enter(self, x: Tensor, condition: Tensor) -> tuple[Heads, tuple[Tensor, ...]]:
        """As in `Stream`."""
        shift, scale = self.modulation(condition).chunk(2, dim=-1)
        return self.projection(modulate(self.attention_norm(x), shift, scale)), ()

    def leave(self, x: Tensor, attended: Tensor, rest: tuple[Tensor, ...]) -> Tensor:
        """Return x as it entered."""
        return x


IMAGE_STREAMS = {False: Stream, True: DualStream}
TEXT_STREAMS = {False: Stream, True: LastStream}


class JointBlock(nn.Module):
    """Two streams that meet in one attention over [image, text]."""

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_width: int | None = None,
        *,
        qk_norm: bool = False,
        dual: bool = False,
        last: bool = False,
        attention: str = "auto",
    ):
        """Build a block.

        Args:
            width, heads, mlp_width: of both streams; None is 4 W.
            qk_norm: RMSNorm with a weight on every head's q and k, in both streams.
            dual: the image stream is a `DualStream`.
            last: the text stream is a `LastStream`.
            attention: a row of ATTENTIONS.
        """
        super().__init__()
        self.image = IMAGE_STREAMS[dual](width, heads, mlp_width, qk_norm, attention)
        self.text = TEXT_STREAMS[last](width, heads, mlp_width, qk_norm, attention)
        self.attend = attention_kind(attention)

    def forward(self, image: Tensor, text: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Return (image [B M W], text [B L W]) from both and the activated condition SiLU(c) [B 1 W]."""
        image_heads, image_rest = self.image.enter(image, condition)
        text_heads, text_rest = self.text.enter(text, condition)
        q, k, v = (torch.cat(pair, dim=2) for pair in zip(image_heads, text_heads, strict=True))
        attended = self.attend(q, k, v).transpose(1, 2).flatten(2)
        num_patches = image.shape[1]
        return (
            self.image.leave(image, attended[:, :num_patches], image_rest),
            self.text.leave(text, attended[:, num_patches:], text_rest),
        )
