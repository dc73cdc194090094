"""The model as its own judge: latents go back through the projector, and the LLM says what it thinks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from unimm.llm.decoding import greedy
from unimm.model.inputs import (
    batch_of,
    fill,
    image_list,
    rows_of,
    tokenizer_of,
    user,
    with_latents,
)
from unimm.parts import IGNORED, Image, Text, Turn
from unimm.request import passes, prompt_list
from unimm.tables import suggestion
from unimm.text.tokenizer import encode, special_ids
from unimm.verify.answer_logits import answer_logits
from unimm.verify.prompt_confidence import prompt_confidence

if TYPE_CHECKING:
    from unimm.model.unimm import UniMM

Positions = Literal["standard", "reference"]
Verifier = str | Callable[[Tensor, Sequence[str]], Tensor]
MAX_ANSWER_TOKENS = 8  # yes and no are one each; a talkative model may need a few before them


def verify(
    model: UniMM, images: Any, prompt: str | Sequence[str], verifier: Verifier = "answer_logits"
) -> list[float]:
    """Score pictures or latents against prompts; the arguments are documented at `UniMM.verify`."""
    parts, prompts = image_list(images), prompt_list(prompt)
    if len(prompts) == 1:
        prompts = prompts * len(parts)
    if len(prompts) != len(parts):
        raise ValueError(
            f"prompt: expected one, or one for each of {len(parts)} pictures, got {len(prompts)}"
        )
    latents = torch.stack([part.latents for part in with_latents(model, parts)])
    return score_latents(model, latents[:, None], prompts, verifier)[:, 0].tolist()


@torch.no_grad()
def score_latents(model: UniMM, latents: Tensor, prompts: Sequence[str], verifier: Verifier) -> Tensor:
    """Return scores [P n], larger is better, of candidates [P n N C] for P prompts."""
    scorer = _scorer(verifier)
    flat = latents.flatten(0, 1)
    each = [prompt for prompt in prompts for _ in range(latents.shape[1])]
    scores = [torch.as_tensor(scorer(model, flat[piece], each[piece])) for piece in passes(len(flat))]
    return torch.cat(scores).reshape(latents.shape[:2])


def score_by_answer(model: UniMM, latents: Tensor, prompts: Sequence[str]) -> Tensor:
    """Ask whether each picture [M N C] shows its prompt; return the answers' scores, float64 [M]."""
    question = model.config.settings.chat.verifier_question
    turns = [
        [user(Image(latents=z), fill(question, prompt))] for z, prompt in zip(latents, prompts, strict=True)
    ]
    batch = batch_of(model, rows_of(model, turns, open_turn=True))
    marks = special_ids(tokenizer_of(model))
    said = greedy(
        model.llm,
        model.embed(batch),
        batch.attention_mask.sum(1),
        marks.turn_end,
        MAX_ANSWER_TOKENS,
        forbidden=(marks.image_start, marks.image_slot, marks.image_end),
    )
    return answer_logits(said.tokens, said.logits, word_ids(model, "yes"), word_ids(model, "no"))


def score_by_confidence(
    model: UniMM, latents: Tensor, prompts: Sequence[str], positions: Positions = "standard"
) -> Tensor:
    """Return how sure the model is of each prompt as the caption of its picture [M N C], float32 [M].

    `standard` looks at the states that predict the prompt's tokens; `reference`, as the published code
    does, at the states of these tokens themselves, one position later.
    """
    request = model.config.settings.chat.caption_request
    turns = [
        [user(Image(latents=z), request), Turn("assistant", (Text(prompt),))]
        for z, prompt in zip(latents, prompts, strict=True)
    ]
    batch = batch_of(model, rows_of(model, turns, open_turn=False))
    end = special_ids(tokenizer_of(model)).turn_end
    rows, columns = torch.nonzero((batch.labels != IGNORED) & (batch.labels != end), as_tuple=True)
    states = model(batch)[rows, columns if positions == "reference" else columns - 1]
    return prompt_confidence(model.llm.lm_head(states), rows, len(turns))


def score_by_confidence_reference(model: UniMM, latents: Tensor, prompts: Sequence[str]) -> Tensor:
    """Prompt confidence at the published code's positions."""
    return score_by_confidence(model, latents, prompts, positions="reference")


VERIFIERS: dict[str, Callable[..., Tensor]] = {
    "answer_logits": score_by_answer,
    "prompt_confidence": score_by_confidence,
    "prompt_confidence_reference": score_by_confidence_reference,
}


def word_ids(model: UniMM, word: str) -> list[int]:
    """Return the tokens that start a word: yes, Yes or YES, with or without a space before it."""
    tokenizer, found = tokenizer_of(model), set()
    for form in (word, word.capitalize(), word.upper()):
        for spelling in (form, " " + form):
            ids = encode(tokenizer, spelling)
            found.add(next(token for token in ids if tokenizer.decode([token]).strip()))
    return sorted(found)


def _scorer(verifier: Verifier) -> Callable[..., Any]:
    if callable(verifier):
        return lambda model, latents, prompts: verifier(latents, prompts)
    if verifier not in VERIFIERS:
        raise ValueError(
            f"verifier: expected a function or one of {', '.join(VERIFIERS)}, "
            f"got {verifier!r}{suggestion(verifier, VERIFIERS)}"
        )
    return VERIFIERS[verifier]
