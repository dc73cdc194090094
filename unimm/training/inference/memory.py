"""What drawing takes of memory, by closed form: the weights, and the fullest moment of every stage.

Counted are tensors, each for as long as something holds it; not what kernels take for themselves, nor what
an allocator keeps back.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch

from unimm.model import ModelSettings, UniMM, UniMMConfig
from unimm.model.drawing.budget import picture_bytes
from unimm.model.memory import row_bytes
from unimm.request import PASS

PROMPT = 40
"""Positions of a prompt of some fifteen words in its turn."""
QUESTION = 60
"""Positions of a question about a picture, but for the picture."""


@dataclass(frozen=True)
class Memory:
    """Bytes of a drawing of M pictures."""

    weights: int
    held: int
    """From the first stage to the last: conditions and latents."""
    prefill: int
    draw: int
    judge: int
    decode: int

    @property
    def activations(self) -> int:
        """What is there beside the weights at the fullest moment."""
        return self.held + max(self.prefill, self.draw, self.judge, self.decode)

    @property
    def total(self) -> int:
        """The fullest moment of all."""
        return self.weights + self.activations


def drawing_memory(
    settings: ModelSettings,
    dtype: torch.dtype,
    pictures: int = 1,
    prompts: int = 1,
    judged: bool = False,
    prompt: int = PROMPT,
) -> Memory:
    """Return what drawing so many pictures in one pass takes.

    Args:
        settings: the model, whose latents are a RAE's.
        dtype: of the weights.
        pictures: M of all prompts together; of more than a pass holds, the largest pass counts.
        prompts: P, which are read at once.
        judged: whether the pictures are candidates, judged by answer logits, of which each prompt keeps one.
        prompt: positions of a prompt's turn.
    """
    size, at_once = dtype.itemsize, min(pictures, PASS)
    latents = 4 * settings.num_latents * settings.dit.channels
    conditions = settings.num_queries * settings.dit.condition_width * size
    question = settings.num_queries + QUESTION
    shown = min(prompts if judged else pictures, PASS)
    return Memory(
        weights=weight_bytes(settings, dtype),
        held=prompts * conditions + pictures * latents,
        prefill=min(prompts, PASS) * row_bytes(settings.llm, prompt + settings.num_queries, size, kept=False),
        draw=at_once * picture_bytes(settings.dit, dtype),
        judge=at_once * row_bytes(settings.llm, question, size) if judged else 0,
        decode=shown * shown_bytes(settings, dtype),
    )


@cache
def weight_bytes(settings: ModelSettings, dtype: torch.dtype) -> int:
    """Return the bytes of all weights in a dtype, and of the tables beside them, which stay as they are."""
    with torch.device("meta"):
        model = UniMM(UniMMConfig(settings))
    tables = sum(table.nbytes for table in model.buffers())
    return sum(parameter.numel() for parameter in model.parameters()) * dtype.itemsize + tables


def shown_bytes(settings: ModelSettings, dtype: torch.dtype) -> int:
    """Return what the decoder holds of one picture at its fullest moment.

    In a block's MLP: the tokens as they were embedded, before and after the class token joined them, before
    and after the attention, and the hidden units on both sides of their activation; beside them the latents,
    restored, in float32 and in the weights' dtype. Or behind the last block: the pixels, in float32, three
    times over.
    """
    decoder = settings.decoder
    tokens = decoder.grid**2 + 1
    block = tokens * (4 * decoder.width + max(2 * decoder.mlp_width, 4 * decoder.width))
    latents = settings.num_latents * settings.dit.channels * (4 + dtype.itemsize)
    return max(block * dtype.itemsize, 3 * 4 * 3 * decoder.image_size**2) + latents
