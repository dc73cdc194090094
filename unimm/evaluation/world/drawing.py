"""What the model draws: a picture per prompt of both splits, sixteen for some; and what it only passes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from torch import Tensor

from unimm.evaluation.metrics import passed_on
from unimm.evaluation.store import Arrays, Store, stage
from unimm.evaluation.world.settings import CANDIDATES, VERIFIERS, Settings
from unimm.world.prompts import Prompt, prompts
from unimm.world.questions import ALIGN
from unimm.world.render import render
from unimm.world.staging import scene_for

if TYPE_CHECKING:
    from unimm.model import UniMM

_PART = 50  # prompts kept together
_PART_CANDIDATES = 8  # prompts whose candidates are kept together
_STAGED = 7001  # keeps the random numbers of staged scenes apart from all others


def stacked(images: Sequence[Image.Image]) -> np.ndarray:
    """Return uint8 [B H W 3] of pictures of one size."""
    return np.stack([np.asarray(image) for image in images])


def picture_size(model: UniMM) -> int:
    """Return the side, in pixels, of what the model draws."""
    return model.config.settings.image_size


def draw(model: UniMM, asked: Sequence[Prompt], seeds: list[int], each: int, settings: Any):
    """Return latents [M N C] and pictures uint8 [M Hp Wp 3], prompt by prompt.

    Args:
        settings: anything with `steps` and `guidance`.
    """
    out = model.generate_image(
        [prompt.text for prompt in asked],
        num_inference_steps=settings.steps,
        guidance_scale=settings.guidance,
        num_images_per_prompt=each,
        seed=seeds,
        output_type="pil",
    )
    return out.latents, stacked(out.images)


def draw_split(model: UniMM, split: str, settings: Settings, store: Store) -> tuple[list[Prompt], Arrays]:
    """Draw one picture per prompt and ask the model whether it obeys.

    Returns:
        the prompts; pictures [P Hp Wp 3] uint8 and answers [P] text.
    """
    asked = prompts(split, settings.per_family, settings.seed)

    def make(piece: Sequence[Prompt], start: int) -> Arrays:
        seeds = [settings.first_seed(split, start + index) for index in range(len(piece))]
        latents, pictures = draw(model, piece, seeds, 1, settings)
        answers = model.answer(latents, [ALIGN.format(prompt=prompt.text) for prompt in piece])
        return {"pictures": pictures, "answers": np.array(answers)}

    with stage(f"drawing {split} prompts", len(asked)) as advance:
        return asked, store.collect(split, asked, _PART, make, advance)


def draw_candidates(model: UniMM, settings: Settings, store: Store) -> tuple[list[Prompt], Arrays]:
    """Draw all candidates of the first held-in prompts, once, and let every verifier score them.

    Returns:
        the prompts; pictures [P 16 Hp Wp 3] uint8, and scores [P 16] under each verifier's name.
    """
    asked = prompts("held_in", settings.per_family, settings.seed)[: settings.num_best_of]

    def make(piece: Sequence[Prompt], start: int) -> Arrays:
        seeds = [settings.first_seed("candidates", start + index) for index in range(len(piece))]
        latents, pictures = draw(model, piece, seeds, CANDIDATES, settings)
        texts = [prompt.text for prompt in piece for _ in range(CANDIDATES)]
        scores = {name: _scores(model, latents, texts, name) for name in VERIFIERS}
        return {"pictures": pictures.reshape(len(piece), CANDIDATES, *pictures.shape[1:]), **scores}

    with stage(f"drawing {CANDIDATES} candidates each", len(asked)) as advance:
        return asked, store.collect("candidates", asked, _PART_CANDIDATES, make, advance)


def _scores(model: UniMM, latents: Tensor, texts: list[str], verifier: str) -> np.ndarray:
    return np.array(model.verify(latents, texts, verifier)).reshape(-1, CANDIDATES)


def pass_on_truth(model: UniMM, settings: Settings, store: Store) -> Arrays:
    """Encode and decode a picture that obeys each held-in prompt: no drawing can be read better than these.

    Returns:
        pictures [P Hp Wp 3] uint8.
    """
    asked, size = prompts("held_in", settings.per_family, settings.seed), picture_size(model)

    def make(piece: Sequence[Prompt], start: int) -> Arrays:
        rngs = [np.random.default_rng([_STAGED, settings.seed, start + i]) for i in range(len(piece))]
        shown = [render(scene_for(p.spec, rng), size) for p, rng in zip(piece, rngs, strict=True)]
        return {"pictures": passed_on(model, shown)}

    with stage("passing on true pictures", len(asked)) as advance:
        return store.collect("ceiling", asked, _PART, make, advance)
