"""A model that cheats: it draws the true scene, or a planted mistake, and knows every answer."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image

from unimm.evaluation.world.seeing import probe
from unimm.latents.pixels import to_images
from unimm.world.grammar import parse
from unimm.world.language import describe, phrase
from unimm.world.questions import ALIGN
from unimm.world.reader import read
from unimm.world.render import render
from unimm.world.scene import Scene, sample_scene
from unimm.world.spec import Spec, holds
from unimm.world.staging import scene_for

SIDE, PATCH = 80, 16
Painter = Callable[[Spec, np.random.Generator], Scene]


def anything(spec: Spec, rng: np.random.Generator) -> Scene:
    """Draw without reading the prompt."""
    return sample_scene(rng)


class Pretender:
    """UniMM's public face over the world itself; latents are the pixels, cut into 5 x 5 patches."""

    def __init__(self, paint: Painter = scene_for, num_probes: int = 0, seed: int = 0, honest: bool = True):
        settings = SimpleNamespace(
            encoder=SimpleNamespace(image_size=SIDE),
            target_size=SIDE,
            image_size=SIDE,
        )
        self.config = SimpleNamespace(settings=settings)
        self.device, self.dtype = torch.device("cpu"), torch.float32
        self.paint, self.honest, self.drawn, self.patience = paint, honest, 0, None
        probes = [probe(seed, index) for index in range(num_probes)]
        self.known = {(render(p.scene, SIDE).tobytes(), p.question.text): p.question.answer for p in probes}

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"weight": torch.ones(3)}

    def encode_image(self, pixels):
        return (
            pixels.unfold(2, PATCH, PATCH)
            .unfold(3, PATCH, PATCH)
            .permute(0, 2, 3, 1, 4, 5)
            .flatten(3)
            .flatten(1, 2)
        )

    encode_target = encode_image

    def decode_latents(self, latents):
        side = SIDE // PATCH
        cut = latents.reshape(-1, side, side, 3, PATCH, PATCH)
        return cut.permute(0, 3, 1, 4, 2, 5).reshape(-1, 3, SIDE, SIDE)

    def generate_image(
        self, prompt, *, num_inference_steps, guidance_scale, num_images_per_prompt, seed, output_type
    ):
        if self.patience is not None and self.drawn >= self.patience:
            raise KeyboardInterrupt
        self.drawn += len(prompt) * num_images_per_prompt
        pictures = [
            render(self.paint(parse(text), np.random.default_rng(first + index)), SIDE)
            for text, first in zip(prompt, seed, strict=True)
            for index in range(num_images_per_prompt)
        ]
        pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
        assert output_type == "pil"
        return SimpleNamespace(
            images=[Image.fromarray(p) for p in pictures], latents=self.encode_image(pixels)
        )

    def _pictures(self, images) -> list[np.ndarray]:
        if isinstance(images, torch.Tensor):
            images = to_images(self.decode_latents(images))
        return [np.asarray(image) for image in images]

    def answer(self, images, questions):
        before, after = ALIGN.split("{prompt}")
        said = []
        for picture, question in zip(self._pictures(images), questions, strict=True):
            if question.startswith(before):
                truth = holds(parse(question.removeprefix(before).removesuffix(after)), read(picture))
                said.append("Yes." if truth == self.honest else "no")
            else:
                said.append(self.known[picture.tobytes(), question])
        return said

    def caption(self, images):
        rng = np.random.default_rng(0)
        return [phrase(describe(read(picture), rng, 1.0), rng) for picture in self._pictures(images)]

    def verify(self, images, prompts, verifier):
        pictures = self._pictures(images)
        if verifier == "prompt_confidence":
            return np.random.default_rng(0).normal(size=len(pictures)).tolist()
        return [float(holds(parse(text), read(p))) for p, text in zip(pictures, prompts, strict=True)]
