"""CLIP's text towers as Stable Diffusion 3 reads them: penultimate states and the projected pooled vector.

Esser et al. 2024, arXiv 2403.03206, section 4 and appendix B.3. Attention is causal; the padding is read like
any other token, no mask hides it (the published models were trained so).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from unimm.shapes import expect


@dataclass(frozen=True)
class CLIPConfig:
    """Sizes of a CLIP text tower; the defaults that stand are those of every published one."""

    width: int  # 768 in CLIP-L, 1280 in OpenCLIP-bigG
    depth: int  # blocks: 12, 32; the last one is not in the sequence, only in the pooled vector
    heads: int  # 12, 20
    mlp_width: int  # 3072, 5120
    pooled_width: int  # of the projection: 768, 1280
    activation: Literal["quick_gelu", "gelu"]  # quick_gelu in OpenAI's, gelu in OpenCLIP's
    vocab_size: int = 49408
    tokens: int = 77  # of a prompt, its start and end among them

    def __post_init__(self) -> None:
        for name in ("width", "depth", "heads", "mlp_width", "pooled_width", "vocab_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"clip.{name}: expected a positive number, got {getattr(self, name)}")
        if self.depth < 2:
            raise ValueError(f"clip.depth: expected 2 or more, as the last but one is read, got {self.depth}")
        if self.tokens < 3:
            raise ValueError(f"clip.tokens: expected room for start, word and end, 3, got {self.tokens}")
        if self.width % self.heads:
            raise ValueError(f"clip.width: expected a multiple of heads = {self.heads}, got {self.width}")


CLIP_L = CLIPConfig(768, 12, 12, 3072, 768, "quick_gelu")
"""OpenAI's CLIP ViT-L/14: 123.7 M parameters with the projection."""
CLIP_G = CLIPConfig(1280, 32, 20, 5120, 1280, "gelu")
"""OpenCLIP's ViT-bigG/14: 694.7 M parameters with the projection."""


class CLIPTower(nn.Module):
    """A CLIP text model with its projection, from transformers."""

    def __init__(self, config: CLIPConfig):
        super().__init__()
        # Imported here: transformers' models cost a second that `import unimm` must not pay.
        from transformers import CLIPTextConfig, CLIPTextModelWithProjection

        self.config = config
        self.model = CLIPTextModelWithProjection(
            CLIPTextConfig(
                vocab_size=config.vocab_size,
                hidden_size=config.width,
                intermediate_size=config.mlp_width,
                projection_dim=config.pooled_width,
                num_hidden_layers=config.depth,
                num_attention_heads=config.heads,
                max_position_embeddings=config.tokens,
                hidden_act=config.activation,
                # The last two of the vocabulary, as in every CLIP; the pooled vector stands at the first end.
                bos_token_id=config.vocab_size - 2,
                eos_token_id=config.vocab_size - 1,
            )
        )

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return (states [B L W] before the last block, pooled [B P]) of token ids [B L].

        The states are not normed. The pooled vector is the last block's state at the first end mark, normed
        and projected.

        Raises:
            ValueError: ids are not [B L] of this tower's length.
        """
        expect("token ids", ids, "B L", L=self.config.tokens)
        out = self.model(input_ids=ids, output_hidden_states=True)
        return out.hidden_states[-2], out.text_embeds

    def reset_tables(self) -> None:
        """Recompute the index table that is in no checkpoint, on the device where the weights are."""
        import torch

        embeddings = self.model.text_model.embeddings
        device = embeddings.position_embedding.weight.device
        embeddings.position_ids = torch.arange(self.config.tokens, device=device).expand(1, -1)
