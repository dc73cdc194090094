"""What callers leave open about drawing, filled in from the model and its profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unimm.flow.guidance import ALWAYS, Interval
from unimm.flow.sampling import Sampling
from unimm.request import positive

if TYPE_CHECKING:
    from unimm.model.unimm import UniMM


def sampling_of(
    model: UniMM,
    num_inference_steps: int = 50,
    guidance_scale: float | None = None,
    sampler: str | None = None,
    *,
    solver: str | None = None,
    grid: str | None = None,
    guidance_interval: Interval | None = None,
) -> Sampling:
    """Return how to draw; what is None is the model's own or its profile's.

    Args:
        sampler, solver: two words for one thing, a row of `flow.sampling.SAMPLERS`.
        grid: a row of `flow.GRIDS`; without a solver it is visited by Euler's method.

    Others as in `UniMM.generate_image`.

    Raises:
        ValueError: a name that nothing has, a number out of its range, or a sampler and another solver.
    """
    if sampler is not None and solver is not None and sampler != solver:
        raise ValueError(f"solver: it is the sampler by another name; got {solver!r} and sampler={sampler!r}")
    own = "euler" if grid is not None and model.profile.sampler == "clean" else model.profile.sampler
    return Sampling(
        positive("num_inference_steps", num_inference_steps),
        guidance_of(model, guidance_scale),
        sampler or solver or own,
        grid=grid or "clean",
        guidance_interval=ALWAYS if guidance_interval is None else guidance_interval,
    )


def guidance_of(model: UniMM, asked: float | None) -> float:
    """Return the guidance scale that was asked for, or the model's own; 1 where its profile never guides."""
    if not model.profile.guides:
        return 1.0
    return model.config.settings.guidance_scale if asked is None else asked


def check_negative(model: UniMM, negative_prompt: str | None, scale: float) -> None:
    """Refuse a negative prompt that nothing would read, or more than one."""
    if not isinstance(negative_prompt, str | None):
        raise ValueError(
            f"negative_prompt: expected one text, for all prompts, got {type(negative_prompt).__name__}"
        )
    if negative_prompt is not None and scale == 1 and model.profile.guides:
        raise ValueError(
            f"negative_prompt: it acts with a guidance_scale other than 1, got 1 (the model's own is "
            f"{model.config.settings.guidance_scale:g}); give both, such as guidance_scale=3"
        )


def counts(num_images: int, best_of: int) -> tuple[int, int]:
    """Return how many pictures are kept and how many are drawn per prompt."""
    positive("num_images_per_prompt", num_images)
    positive("best_of", best_of)
    if best_of == 1:
        return num_images, num_images
    if best_of < num_images:
        raise ValueError(f"best_of: expected at least num_images_per_prompt={num_images}, got {best_of}")
    return num_images, best_of
