"""What judging a candidate costs beside drawing it, in multiply-accumulates, by closed form.

Matrix products and attention are counted, as in `unimm.training.count`; of attention the whole rectangle of
queries and keys, as kernels are counted there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from unimm.dit.presets import PRESETS
from unimm.llm.qwen import LLMConfig
from unimm.tables import pick
from unimm.training.count import total
from unimm.training.inventory import count_body

# Tokens of the published templates, counted by hand: a word or a mark is one under Qwen2.5's tokenizer.
OPENING = 14  # system turn (11) and the user's header (3); before a picture stands one mark more
QUESTION = 16  # mark and newline (2), the question without the prompt (9), turn's end (2), header (3)
REQUEST = 11  # the same with "Describe this image." (4)
GENERATE = 10  # "Generate an image of" (4), turn's end (2), header (3), the mark before the picture
PROMPT = 20  # a prompt of some fifteen words


@dataclass(frozen=True)
class System:
    """An LLM and the body that draws for it."""

    llm: LLMConfig
    body: tuple[str, Any]  # kind and config


QWEN_1_5B = LLMConfig(151_667, 1536, 28, 12, 2, 8960)
QWEN_7B = LLMConfig(151_667, 3584, 28, 28, 4, 18_944, tied_embeddings=False)
SYSTEMS = {
    "Scale-RAE 1.5B + 2.4B": System(QWEN_1_5B, PRESETS["Scale-RAE 2.4B"]),
    "Scale-RAE 7B + 9.8B": System(QWEN_7B, PRESETS["Scale-RAE 9.8B"]),
}


@dataclass(frozen=True)
class Work:
    """What a verifier reads of one candidate, in positions."""

    shared: int  # read once per prompt
    own: int  # read for each candidate, its N latents among them
    further: int  # said, and read again one by one
    heads: int  # where logits are made


def works(latents: int, prompt: int = PROMPT) -> dict[str, Work]:
    """Return the work of each verifier for N latent tokens and a prompt of so many tokens.

    An answer is taken to be one word and the end of the turn, as it is with models trained to give it.
    """
    asked, told = latents + QUESTION + prompt, latents + REQUEST + prompt
    return {
        "answer_logits": Work(OPENING + 1, asked, 1, 2),
        "p_yes": Work(OPENING + 1, asked, 0, 1),
        "prompt_confidence": Work(OPENING + 1, told, 0, prompt),
        "prompt_likelihood": Work(OPENING + 1, told, 0, prompt),
        "image_confidence": Work(OPENING + GENERATE + prompt, latents, 0, latents),
    }


def reading_macs(llm: LLMConfig, new: int, before: int = 0) -> int:
    """Return the cost of reading `new` positions after `before` that are remembered; no logits."""
    width, narrow = llm.width, llm.width * llm.key_value_heads // llm.heads
    layer = 2 * width * width + 2 * width * narrow + 3 * width * llm.mlp_width
    return llm.depth * (new * layer + 2 * new * (before + new) * width)


def verifying_macs(llm: LLMConfig, work: Work, candidates: int, projector: int) -> int:
    """Return the cost of judging one of so many candidates of a prompt, its share of what they share in it.

    Args:
        llm: who judges.
        work: what is read.
        candidates: of one prompt, which share what is read once.
        projector: cost of bringing one candidate's latents to the LLM's width.
    """
    steps = sum(reading_macs(llm, 1, work.shared + work.own + said) for said in range(work.further))
    own = reading_macs(llm, work.own, work.shared) + steps + work.heads * llm.width * llm.vocab_size
    return own + projector + reading_macs(llm, work.shared) // candidates


def drawing_macs(system: System, steps: int, guided: bool = False) -> int:
    """Return the cost of drawing one candidate: the steps of the body alone, without the LLM's share."""
    return steps * (2 if guided else 1) * _evaluation_macs(system)


@cache
def _evaluation_macs(system: System) -> int:
    return total(count_body(*system.body)).macs


def compared(name: str, candidates: int = 8, steps: int = 50) -> dict[str, float]:
    """Return the cost of each verifier as a share of drawing the same candidates, without guidance.

    Raises:
        ValueError: no such system; the nearest is suggested.
    """
    system = pick("system", name, SYSTEMS)
    body, width = system.body[1], system.llm.width
    latents = body.grid**2
    projector = latents * (body.channels * width + width * width)  # two layers
    drawing = drawing_macs(system, steps)
    return {
        verifier: verifying_macs(system.llm, work, candidates, projector) / drawing
        for verifier, work in works(latents).items()
    }
