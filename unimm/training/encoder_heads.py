"""What the encoder stage's losses need besides the encoder, and the losses: contrast, captions, paint."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unimm.latents.decoder import RAEDecoder
from unimm.llm.attention import train_short_rows
from unimm.llm.qwen import build_llm

if TYPE_CHECKING:
    from unimm.training.encoder import EncoderRecipe


class Heads(nn.Module):
    """What the losses need besides the encoder: a pooling query, a text tower, a painter."""

    def __init__(self, recipe: EncoderRecipe):
        super().__init__()
        channels, width = recipe.encoder.width, recipe.text.width
        self.probe = nn.Parameter(torch.randn(1, 1, channels) * channels**-0.5)
        self.pool = nn.MultiheadAttention(channels, recipe.encoder.heads, batch_first=True)
        self.image_out = nn.Linear(channels, width)
        self.prefix = nn.Linear(channels, width)
        self.text = build_llm(recipe.text)
        train_short_rows(self.text)
        self.text_out = nn.Linear(width, width)
        self.painter = RAEDecoder(recipe.painter)
        self.log_scale = nn.Parameter(torch.tensor(np.log(10.0), dtype=torch.float32))
        self.bias = nn.Parameter(torch.tensor(-10.0))

    def image_embedding(self, latents: Tensor) -> Tensor:
        """Return unit vectors [B D] of latents [B N C]: attention pooling, as SigLIP's head."""
        pooled, _ = self.pool(self.probe.expand(len(latents), -1, -1), latents, latents, need_weights=False)
        return F.normalize(self.image_out(pooled[:, 0]).float(), dim=-1)

    def text_embedding(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Return unit vectors [B D] of captions [B T]: the state at each caption's last token."""
        states = self.text.model(inputs_embeds=self.text.model.embed_tokens(ids), attention_mask=_NO_MASK)
        last = states.last_hidden_state[torch.arange(len(ids)), lengths - 1]
        return F.normalize(self.text_out(last).float(), dim=-1)

    def caption_loss(self, latents: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
        """Return the cross entropy of captions [B T] that follow their latents [B N C]."""
        states = self.caption_states(latents, ids)
        counted = torch.arange(ids.shape[1])[None] < lengths[:, None]
        return self.surprise(states[counted], ids[counted])

    def caption_states(self, latents: Tensor, ids: Tensor) -> Tensor:
        """Return states [B T D] from which the tokens of captions [B T] that follow latents are told."""
        embeds = torch.cat([self.prefix(latents), self.text.model.embed_tokens(ids)], dim=1)
        states = self.text.model(inputs_embeds=embeds, attention_mask=_NO_MASK).last_hidden_state
        return states[:, latents.shape[1] - 1 : -1]

    def surprise(self, states: Tensor, ids: Tensor) -> Tensor:
        """Return the mean cross entropy, in nats, of tokens [M] told from states [M D]."""
        return F.cross_entropy(self.text.lm_head(states).float(), ids)


_NO_MASK = {"full_attention": None}  # right padding under causal attention needs none


def sigmoid_loss(image: Tensor, text: Tensor, same: Tensor, log_scale: Tensor, bias: Tensor) -> Tensor:
    """Return the pairwise sigmoid loss per image (Zhai et al. 2023, SigLIP, algorithm 1).

    Args:
        image: [B D] unit vectors.
        text: [B D] unit vectors.
        same: [B B] bool, whether caption j is true of image i; equal captions count as one.
    """
    logits = image @ text.T * log_scale.exp() + bias
    sign = same.float() * 2 - 1
    return -F.logsigmoid(sign * logits).sum() / len(image)


def hide_patches(pixels: Tensor, patch: int, hidden: Tensor) -> Tensor:
    """Return pixels [B 3 Hp Wp] with the patches hidden [B N] (bool) painted mid-grey."""
    side = pixels.shape[-1] // patch
    mask = hidden.view(-1, 1, side, side).repeat_interleave(patch, 2).repeat_interleave(patch, 3)
    return torch.where(mask, 0.5, pixels)
