"""T5's encoder (Raffel et al. 2020, version 1.1) as Stable Diffusion 3 reads it (Esser et al. 2024).

The padding is read like any other token: no mask hides it, as the published models were trained so.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from unimm.shapes import expect


@dataclass(frozen=True)
class T5Config:
    """Sizes of a T5 encoder (version 1.1: gated GELU, no biases)."""

    width: int  # 4096 in XXL
    depth: int  # 24
    heads: int  # 64
    head_width: int  # 64; heads * head_width need not be the width
    mlp_width: int  # 10240
    vocab_size: int = 32128
    tokens: int = 77  # of a prompt, its end among them; 77 in the paper, up to 256 in the published pipelines

    def __post_init__(self) -> None:
        for name in ("width", "depth", "heads", "head_width", "mlp_width", "vocab_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"t5.{name}: expected a positive number, got {getattr(self, name)}")
        if self.tokens < 2:
            raise ValueError(f"t5.tokens: expected room for a word and the end, 2, got {self.tokens}")


T5_XXL = T5Config(4096, 24, 64, 64, 10240)
"""The encoder of T5 v1.1 XXL: 4.76 G parameters."""


class T5Tower(nn.Module):
    """A T5 encoder from transformers."""

    def __init__(self, config: T5Config):
        super().__init__()
        from transformers import T5Config as Sizes
        from transformers import T5EncoderModel

        self.config = config
        model = T5EncoderModel(
            Sizes(
                vocab_size=config.vocab_size,
                d_model=config.width,
                d_kv=config.head_width,
                d_ff=config.mlp_width,
                num_layers=config.depth,
                num_heads=config.heads,
                feed_forward_proj="gated-gelu",
                dropout_rate=0.0,  # a tower in training mode must say the same twice
            )
        )
        self.encoder = model.encoder  # with the embedding, which the whole model holds under a second name

    def forward(self, ids: Tensor) -> Tensor:
        """Return the states [B L W] after the final norm of token ids [B L].

        Raises:
            ValueError: ids are not [B L] of this tower's length.
        """
        expect("token ids", ids, "B L", L=self.config.tokens)
        return self.encoder(input_ids=ids).last_hidden_state
