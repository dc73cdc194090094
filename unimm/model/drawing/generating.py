"""Prompts to pictures: read once, drawn in passes, the best kept, only those decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unimm.flow.guidance import Interval
from unimm.flow.sampling import Callback, OnLatents
from unimm.model.drawing.asking import ImageStart, Intentions, Request, intentions_of, pictures_of
from unimm.model.drawing.options import check_negative, counts, sampling_of
from unimm.model.drawing.showing import OutputType, show
from unimm.model.drawing.strokes import draw_latents
from unimm.model.verifying import Verifier, score_latents
from unimm.request import check_output_type, positive, prompt_list, seed_rows
from unimm.verify.best_of import best_of as keep_best

if TYPE_CHECKING:
    from unimm.model.unimm import UniMM


@dataclass(frozen=True)
class GeneratedImages:
    """What was drawn: M pictures, prompt by prompt, best first."""

    images: Any  # M PIL pictures, a tensor [M 3 Hp Wp] or an array [M Hp Wp 3] in [0, 1], or the latents
    latents: Tensor  # [M N C] normalised
    scores: list[float] | None  # the verifier's, larger is better; None if there was no verifier
    seeds: list[int]  # each draws its picture again, alone
    texts: list[str] | None = None  # what the model said before the picture of each prompt, where it decided


@torch.no_grad()
def generate_image(
    model: UniMM,
    prompt: str | Sequence[str],
    images: Any = None,
    *,
    num_inference_steps: int = 50,
    guidance_scale: float | None = None,
    guidance_interval: Interval | None = None,
    num_images_per_prompt: int = 1,
    best_of: int = 1,
    verifier: Verifier | None = None,
    seed: int | Sequence[int] | None = None,
    negative_prompt: str | None = None,
    output_type: OutputType = "pil",
    sampler: str | None = None,
    solver: str | None = None,
    grid: str | None = None,
    image_start: ImageStart = "forced",
    batch_size: int | None = None,
    callback: Callback | None = None,
    on_step: OnLatents | None = None,
) -> GeneratedImages:
    """Draw pictures of prompts; the arguments are documented at `UniMM.generate_image`."""
    prompts = prompt_list(prompt)
    keep, n = counts(num_images_per_prompt, best_of)
    check_output_type(output_type)
    sampling = sampling_of(
        model,
        num_inference_steps,
        guidance_scale,
        sampler,
        solver=solver,
        grid=grid,
        guidance_interval=guidance_interval,
    )
    check_negative(model, negative_prompt, sampling.guidance_scale)
    size = None if batch_size is None else positive("batch_size", batch_size)
    seeds = seed_rows(seed, len(prompts), n)
    pictures = pictures_of(model, images, None if isinstance(prompt, str) else len(prompts))
    requests = [Request(*pair) for pair in zip(prompts, pictures, strict=True)]
    intended = intentions_of(model, requests, image_start, size)
    negative = _negative(model, negative_prompt, requests, intended, size)

    def draw(n: int) -> Tensor:
        owners = [owner for owner in intended.owners for _ in range(n)]
        flat = [number for row in seeds for number in row]
        drawn = draw_latents(
            model,
            intended.conditions,
            flat,
            sampling,
            owners=owners,
            negative=negative,
            callback=callback,
            on_step=on_step,
            batch_size=size,
        )
        return drawn.unflatten(0, (len(prompts), n))

    verifier = verifier or ("answer_logits" if n > keep else None)
    score = None if verifier is None else partial(score_latents, model, prompts=prompts, verifier=verifier)
    decode = partial(show, model, output_type=output_type, batch_size=size)
    chosen = keep_best(draw, score, decode, n, keep)
    scores = None if chosen.scores is None else chosen.scores.flatten().tolist()
    kept = [seeds[p][i] for p, row in enumerate(chosen.indices.tolist()) for i in row]
    texts = None if image_start == "forced" else intended.texts
    return GeneratedImages(chosen.decoded, chosen.candidates.flatten(0, 1), scores, kept, texts)


def _negative(
    model: UniMM,
    prompt: str | None,
    requests: Sequence[Request],
    intended: Intentions,
    size: int | None,
) -> Tensor | None:
    """Return what to lead away from for each of the U distinct requests, [U Q Z], or [1 Q Z] for all.

    It is read after the same pictures as the prompt, so that guidance leads away from the words alone.
    """
    if prompt is None:
        return None
    prompt_list(prompt, "negative_prompt")
    distinct = dict(zip(intended.owners, requests, strict=True))
    others = [Request(prompt, distinct[place].pictures) for place in range(len(distinct))]
    found = intentions_of(model, others, batch_size=size)
    return found.conditions if len(found.conditions) == 1 else found.conditions[found.owners]
