"""Prompts to pictures: read once, drawn in passes, the best kept, only those decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unimm.flow.guidance import Interval
from unimm.flow.sampling import Callback, OnLatents
from unimm.model.drawing.asking import ImageStart, Intentions, intentions_of
from unimm.model.drawing.options import check_negative, counts, sampling_of
from unimm.model.drawing.showing import OutputType, show
from unimm.model.drawing.strokes import draw_latents
from unimm.model.inputs import Request, pictures_of
from unimm.model.verifying import Choice, Verifier, choose
from unimm.request import check_output_type, positive, prompt_list, seed_rows
from unimm.verify.best_of import Place

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
    probabilities: list[float] | None = None  # that each is right; None where the verifier is not calibrated
    drawn: list[int] | None = None  # candidates drawn for each prompt; fewer than n where it stopped early
    failed: tuple[tuple[int, int], ...] = ()  # (prompt, seed) of candidates whose score was no finite number


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
    stop_margin: float | None = None,
    stop_probability: float | None = None,
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

    progress = _Progress(len(prompts) * n, callback, on_step)

    def draw(places: Sequence[Place]) -> Tensor:
        return draw_latents(
            model,
            intended.conditions,
            [seeds[prompt][candidate] for prompt, candidate in places],
            sampling,
            owners=[intended.owners[prompt] for prompt, _ in places],
            negative=negative,
            batch_size=size,
            **progress.callbacks(len(places)),
        )

    chosen = choose(
        model,
        requests,
        draw,
        partial(show, model, output_type=output_type, batch_size=size),
        n,
        keep,
        verifier or ("answer_logits" if n > keep else None),
        stop_margin=stop_margin,
        stop_probability=stop_probability,
        batch_size=size,
    )
    progress.finish()
    texts = None if image_start == "forced" else intended.texts
    return _collected(chosen, seeds, texts)


def _collected(chosen: Choice, seeds: Sequence[Sequence[int]], texts: list[str] | None) -> GeneratedImages:
    """Return what was chosen, flat; seeds are those of all candidates, [P][n]."""
    return GeneratedImages(
        chosen.images,
        chosen.latents.flatten(0, 1),
        None if chosen.scores is None else list(chain(*chosen.scores)),
        [seeds[p][i] for p, row in enumerate(chosen.indices) for i in row],
        texts,
        None if chosen.probabilities is None else list(chain(*chosen.probabilities)),
        chosen.drawn,
        tuple((p, seeds[p][i]) for p, i in chosen.failed),
    )


class _Progress:
    """Steps told as of one drawing, where it goes in rounds: of all candidates, whether all are drawn or not.

    The first round sets how many steps all of them would take; each candidate is an equal share of these.
    """

    def __init__(self, candidates: int, callback: Callback | None, on_step: OnLatents | None) -> None:
        self.candidates, self.total = candidates, None
        self.done = self.here = 0
        self._callback, self._on_step = callback, on_step

    def callbacks(self, count: int) -> dict[str, Callable[..., None] | None]:
        """Return the callbacks of the next round, of so many candidates."""
        self.done, self.here = self.done + self.here, count
        named = {"callback": self._callback, "on_step": self._on_step}
        return {name: call and partial(self._told, call) for name, call in named.items()}

    def finish(self) -> None:
        """Tell the end, where a drawing stopped before all were drawn."""
        if self._callback and self.total is not None and self.done + self.here < self.candidates:
            self._callback(self.total, self.total)

    def _told(self, call: Callable[..., None], step: int, total: int, *more: Any) -> None:
        if self.total is None:
            self.total = -(-total * self.candidates // self.here)
        reached = self.total * (self.done * total + self.here * step) // (self.candidates * total)
        call(reached, self.total, *more)


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
