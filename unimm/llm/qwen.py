"""Qwen2.5's architecture at any size, built over transformers' class."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import Qwen2Config, Qwen2ForCausalLM

from unimm.llm.head import head_of


@dataclass(frozen=True)
class LLMConfig:
    """Sizes of the language model; comments give Qwen2.5-1.5B's values."""

    vocab_size: int  # 151667 rows in Scale-RAE
    width: int  # 1536
    depth: int  # 28
    heads: int  # 12
    key_value_heads: int  # 2
    mlp_width: int  # 8960
    context: int = 32768  # longest sequence, image slots and queries included
    tied_embeddings: bool = True  # False at 7B
    rope_theta: float = 1e6
    norm_eps: float = 1e-6
    init_std: float = 0.02

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"llm.width: expected a multiple of heads={self.heads}, got {self.width}")
        if self.heads % self.key_value_heads:
            raise ValueError(
                f"llm.heads: expected a multiple of key_value_heads={self.key_value_heads}, got {self.heads}"
            )


def build_llm(config: LLMConfig) -> Qwen2ForCausalLM:
    """Return a Qwen2ForCausalLM of these sizes with fresh weights and a head that knows cross entropy."""
    llm = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=config.vocab_size,
            hidden_size=config.width,
            intermediate_size=config.mlp_width,
            num_hidden_layers=config.depth,
            num_attention_heads=config.heads,
            num_key_value_heads=config.key_value_heads,
            max_position_embeddings=config.context,
            tie_word_embeddings=config.tied_embeddings,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
            rms_norm_eps=config.norm_eps,
            initializer_range=config.init_std,
            use_cache=False,
        )
    )
    llm.lm_head = head_of(llm.lm_head)
    return llm


def compute_again(llm: Qwen2ForCausalLM) -> None:
    """Keep only what enters each layer in training, and compute the rest again for gradients."""
    switch = getattr(llm, "activation_checkpointing_enable", None)  # its name since transformers 5.23
    (switch or llm.gradient_checkpointing_enable)({"use_reentrant": False})
