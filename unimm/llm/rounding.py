"""What Scale-RAE's bfloat16 embeddings do in its float32 model, wherever a picture is seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import Qwen2ForCausalLM


def rounded(x: Tensor) -> Tensor:
    """Return the nearest bfloat16 numbers, in the dtype of x."""
    return x.to(torch.bfloat16).to(x.dtype)


@contextmanager
def first_norm_rounded(llm: Qwen2ForCausalLM, places: Tensor) -> Iterator[None]:
    """While it lasts, the norm of the first layer rounds its tokens at the places, [B T] or [B 1], bool.

    Of bfloat16 inputs it returns weight * bfloat16(token / rms); everything after is float32 again.
    """
    hook = llm.model.layers[0].input_layernorm.register_forward_hook(
        lambda norm, inputs, output: torch.where(places[..., None], _rounding_norm(norm, inputs[0]), output)
    )
    try:
        yield
    finally:
        hook.remove()


def _rounding_norm(norm: nn.Module, x: Tensor) -> Tensor:
    token = x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + norm.variance_epsilon)
    return norm.weight * rounded(token).to(x.dtype)
