"""Every verifier computed the plain way: each row alone, from its start, all logits, nothing remembered.

`context` are pictures that stand before all else.
"""

from __future__ import annotations

import math

import torch

from tests.model.small import small_tokenizer
from unimm.llm.decoding import llm_states
from unimm.llm.rounding import first_norm_rounded
from unimm.model.inputs import batch_of
from unimm.parts import Image, Text, Turn
from unimm.text.chat import open_image, render
from unimm.text.tokenizer import encode, special_ids
from unimm.verify.answer_logits import NEITHER

SOFTPLUS = torch.nn.functional.softplus


def row(*parts: Image | str):
    turn = Turn("user", tuple(Text(part) if isinstance(part, str) else part for part in parts))
    return render([turn], small_tokenizer(), 9, add_generation_prompt=True)


@torch.no_grad()
def logits(model, rendered, said=()) -> torch.Tensor:
    """All logits of a row and of tokens said after it, which no profile rounds."""
    embeds = model.embed(batch_of(model, [rendered]))
    places = torch.tensor([[model.profile.rounds_embeddings] * embeds.shape[1] + [False] * len(said)])
    tokens = model.llm.get_input_embeddings()(torch.tensor(said, dtype=torch.long))
    with first_norm_rounded(model.llm, places):
        return model.llm.lm_head(llm_states(model.llm, torch.cat([embeds, tokens[None]], dim=1))[0])


def certainty(given: torch.Tensor) -> float:
    return float(-(given.double().log_softmax(-1) + math.log(given.shape[-1])).mean(-1).mean())


def caption(model, latents, prompt, context=()) -> tuple[torch.Tensor, list[int], int]:
    """All logits of a picture with its prompt as caption, the prompt's tokens, and where they begin."""
    rendered = row(*context, Image(latents=latents), "Describe this image.")
    start, words = len(rendered.ids), encode(small_tokenizer(), prompt)
    rendered.add(words, labelled=False)
    return logits(model, rendered), words, start


def prompt_confidence(model, latents, prompt, ahead=1, context=()) -> float:
    given, words, start = caption(model, latents, prompt, context)
    return certainty(given[start - ahead : start + len(words) - ahead])


def prompt_likelihood(model, latents, prompt, ahead=1, context=()) -> float:
    given, words, start = caption(model, latents, prompt, context)
    skipped = 1 - ahead
    chances = given.double().log_softmax(-1)[start - 1 + skipped : start + len(words) - 1]
    return float(torch.stack([p[token] for p, token in zip(chances, words[skipped:], strict=True)]).mean())


def image_confidence(model, latents, prompt, context=()) -> float:
    rendered = open_image(row(*context, f"Generate an image of {prompt}"), small_tokenizer(), 9)
    begin = len(rendered.ids) - 9
    drawn = render(
        [
            Turn("user", (*context, Text(f"Generate an image of {prompt}"))),
            Turn("assistant", (Image(latents=latents),)),
        ],
        small_tokenizer(),
        9,
    )
    assert drawn.ids[: begin + 9] == rendered.ids
    return certainty(logits(model, drawn)[begin : begin + 9])


def p_yes(model, latents, prompt, yes, no, context=()) -> float:
    last = logits(model, question(latents, prompt, context))[-1].double().softmax(-1)
    return float(last[yes].sum() / (last[yes].sum() + last[no].sum()))


def answer_logits(model, latents, prompt, yes, no, longest=8, context=()) -> float:
    """Decode by reading everything again for each token, then walk the answer as the published code does."""
    rendered, marks = question(latents, prompt, context), special_ids(small_tokenizer())
    yes_logit, no_logit, said = None, None, []
    for _ in range(longest):
        last = logits(model, rendered, said)[-1]
        open_to = last.clone()
        open_to[[marks.image_start, marks.image_slot, marks.image_end]] = -torch.inf
        token = int(open_to.argmax())
        if token in yes:
            yes_logit = last[token].double()
        if token in no:
            no_logit = last[token].double()
        if token == marks.turn_end:
            break
        said.append(token)
    if yes_logit is not None:
        return float(SOFTPLUS(yes_logit))
    return NEITHER if no_logit is None else float(-SOFTPLUS(no_logit))


def question(latents, prompt, context=()):
    return row(*context, Image(latents=latents), f"Does this image align with the prompt: {prompt}?")
