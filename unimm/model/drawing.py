"""Text to pictures: the LLM reads each prompt once, the DiT draws every candidate from its own seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from unimm.flow.grids import clean_grid, scale_rae_transitions
from unimm.flow.guidance import guided
from unimm.flow.solver import integrate_transitions
from unimm.latents.pixels import to_images
from unimm.model.inputs import batch_of, check_length, fill, rows_of, tokenizer_of, user
from unimm.model.verifying import Verifier, score_latents
from unimm.request import check_output_type, noise_of, passes, positive, prompt_list, seed_rows
from unimm.text.chat import open_image
from unimm.verify.best_of import best_of as keep_best

if TYPE_CHECKING:
    from unimm.model.unimm import UniMM

OutputType = Literal["pil", "pt", "np", "latent"]


@dataclass(frozen=True)
class Sampling:
    """How latents are drawn."""

    num_inference_steps: int = 50
    guidance_scale: float = 1.0  # 1 is no guidance; other values cost two evaluations per step
    sampler: Literal["clean", "scale_rae"] = "clean"  # scale_rae: the published sampler with its quirks

    def __post_init__(self) -> None:
        positive("num_inference_steps", self.num_inference_steps)
        if self.sampler not in ("clean", "scale_rae"):
            raise ValueError(f"sampler: expected 'clean' or 'scale_rae', got {self.sampler!r}")

    def transitions(self, alpha: float) -> Tensor:
        """Return the (from, to) times, float64 [steps 2]."""
        if self.sampler == "scale_rae":
            return scale_rae_transitions(self.num_inference_steps, alpha)
        grid = clean_grid(self.num_inference_steps, alpha)
        return torch.stack([grid[:-1], grid[1:]], dim=1)


@dataclass(frozen=True)
class GeneratedImages:
    """What was drawn: M pictures, prompt by prompt, best first."""

    images: Any  # M PIL pictures, a tensor [M 3 Hp Wp] or an array [M Hp Wp 3] in [0, 1], or the latents
    latents: Tensor  # [M N C] normalised
    scores: list[float] | None  # the verifier's, larger is better; None if there was no verifier
    seeds: list[int]  # each draws its picture again, alone


@torch.no_grad()
def generate_image(
    model: UniMM,
    prompt: str | Sequence[str],
    *,
    num_inference_steps: int = 50,
    guidance_scale: float | None = None,
    num_images_per_prompt: int = 1,
    best_of: int = 1,
    verifier: Verifier | None = None,
    seed: int | Sequence[int] | None = None,
    negative_prompt: str | None = None,
    output_type: OutputType = "pil",
    sampler: Literal["clean", "scale_rae"] = "clean",
    callback: Callable[[int, int], None] | None = None,
) -> GeneratedImages:
    """Draw pictures of prompts; the arguments are documented at `UniMM.generate_image`."""
    prompts = prompt_list(prompt)
    keep, n = _counts(num_images_per_prompt, best_of)
    check_output_type(output_type)
    sampling = Sampling(num_inference_steps, guidance_of(model, guidance_scale), sampler)
    verifier = verifier or ("answer_logits" if n > keep else None)
    seeds = seed_rows(seed, len(prompts), n)
    conditions = conditions_of(model, prompts)
    nothing = conditions_of(model, [negative_prompt])[0] if negative_prompt else None

    def draw(n: int) -> Tensor:
        each = conditions.repeat_interleave(n, dim=0)
        flat = [s for row in seeds for s in row]
        drawn = draw_latents(model, each, flat, sampling, negative=nothing, callback=callback)
        return drawn.unflatten(0, (len(prompts), n))

    score = None if verifier is None else partial(score_latents, model, prompts=prompts, verifier=verifier)
    chosen = keep_best(draw, score, partial(show, model, output_type=output_type), n, keep)
    scores = None if chosen.scores is None else chosen.scores.flatten().tolist()
    kept = [seeds[p][i] for p, row in enumerate(chosen.indices.tolist()) for i in row]
    return GeneratedImages(chosen.decoded, chosen.candidates.flatten(0, 1), scores, kept)


def guidance_of(model: UniMM, asked: float | None) -> float:
    """Return the guidance scale that was asked for, or the model's own."""
    return model.config.settings.guidance_scale if asked is None else asked


def conditions_of(model: UniMM, prompts: Sequence[str]) -> Tensor:
    """Return the conditions [P N Z] of prompts: one pass of the LLM, a picture's start forced after each."""
    settings, tokenizer = model.config.settings, tokenizer_of(model)
    turns = [[user(fill(settings.chat.generate_template, prompt))] for prompt in prompts]
    rows = [open_image(row, tokenizer, settings.num_queries) for row in rows_of(model, turns, open_turn=True)]
    check_length(model, max(len(row.ids) for row in rows))
    pieces = [model.query_states(batch_of(model, rows[piece])) for piece in passes(len(rows))]
    return model.connector(torch.cat(pieces))


def draw_latents(
    model: UniMM,
    conditions: Tensor,
    seeds: Sequence[int],
    sampling: Sampling,
    negative: Tensor | None = None,
    callback: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Return latents [M N C], float32, of conditions [M N Z]; each depends on its own seed and condition."""
    pieces, drawn = list(passes(len(seeds))), []
    for done, piece in enumerate(pieces):
        for state in drawing_steps(model, conditions[piece], seeds[piece], sampling, negative):
            if callback is not None:
                callback(state.step + done * state.total, len(pieces) * state.total)
        drawn.append(state.latents)
    return torch.cat(drawn)


@dataclass(frozen=True)
class DrawingState:
    """Latents [B N C] after `step` of `total` steps."""

    step: int
    total: int
    latents: Tensor


@torch.no_grad()
def drawing_steps(
    model: UniMM, conditions: Tensor, seeds: Sequence[int], sampling: Sampling, negative: Tensor | None = None
) -> Iterator[DrawingState]:
    """Yield the latents after each step from noise to data; state and times are float32."""
    settings = model.config.settings
    velocity = guided(
        lambda x, t: model.velocity(x, t, conditions),
        _unconditional(model, conditions, negative, sampling.guidance_scale),
        sampling.guidance_scale,
    )
    x = noise_of(seeds, settings.num_queries, settings.dit.channels).to(conditions.device)
    pairs = sampling.transitions(settings.alpha)
    for step in range(len(pairs)):
        x = integrate_transitions(velocity, x, pairs[step : step + 1])
        yield DrawingState(step + 1, len(pairs), x)


def show(model: UniMM, latents: Tensor, output_type: OutputType) -> Any:
    """Return latents [P keep N C] as pictures in the asked form, flat."""
    flat = latents.flatten(0, 1)
    if output_type == "latent":
        return flat
    pieces = [model.decode_latents(flat[piece].to(model.dtype)).float() for piece in passes(len(flat))]
    pixels = torch.cat(pieces)
    if output_type == "pt":
        return pixels
    return to_images(pixels) if output_type == "pil" else pixels.permute(0, 2, 3, 1).cpu().numpy()


def _unconditional(model: UniMM, conditions: Tensor, negative: Tensor | None, scale: float):
    if scale == 1.0:
        return None
    if negative is not None:
        others = negative.expand_as(conditions)
    else:
        everything = torch.ones(len(conditions), dtype=torch.bool, device=conditions.device)
        others = model.dit.drop_conditions(conditions, everything)
    return lambda x, t: model.velocity(x, t, others)


def _counts(num_images: int, best_of: int) -> tuple[int, int]:
    """Return how many pictures are kept and how many are drawn per prompt."""
    positive("num_images_per_prompt", num_images)
    positive("best_of", best_of)
    if best_of == 1:
        return num_images, num_images
    if best_of < num_images:
        raise ValueError(f"best_of: expected at least num_images_per_prompt={num_images}, got {best_of}")
    return num_images, best_of
