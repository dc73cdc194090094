"""What the model sees: questions, claims and descriptions of rendered scenes; how it passes pictures on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from unimm.evaluation.metrics import LEAST_ERROR, passed_on, psnr
from unimm.evaluation.store import Arrays, Store, stage
from unimm.evaluation.world.drawing import picture_size
from unimm.evaluation.world.settings import Settings
from unimm.world.held_out import sample_allowed
from unimm.world.questions import Question, alignment, ask
from unimm.world.render import render
from unimm.world.scene import Scene

if TYPE_CHECKING:
    from unimm.model import UniMM

_PART = 64  # scenes kept together
_ASKED = 7002  # keeps these random numbers apart from those of any training stream


@dataclass(frozen=True)
class Probe:
    """A scene and what is asked about its picture."""

    scene: Scene
    question: Question
    claim: Question


def probe(seed: int, index: int) -> Probe:
    """Return probe `index` of a seed; its scene shows no held-out combination."""
    rng = np.random.default_rng([_ASKED, seed, index])
    while True:
        scene = sample_allowed(rng)
        question, claim = ask(scene, rng), alignment(scene, rng)
        if claim is not None:
            return Probe(scene, question, claim)


def see(model: UniMM, settings: Settings, store: Store) -> tuple[list[Probe], Arrays]:
    """Show rendered scenes to the model.

    Returns:
        the probes; answers, claims and captions [P] text, and psnr [P] in dB.
    """
    probes = [probe(settings.seed, index) for index in range(settings.num_scenes)]
    size = picture_size(model)

    def make(piece: Sequence[Probe], start: int) -> Arrays:
        pictures = np.stack([render(p.scene, size) for p in piece])
        images = [Image.fromarray(picture) for picture in pictures]
        return {
            "answers": np.array(model.answer(images, [p.question.text for p in piece])),
            "claims": np.array(model.answer(images, [p.claim.text for p in piece])),
            "captions": np.array(model.caption(images)),
            "psnr": psnr(pictures, passed_on(model, pictures), LEAST_ERROR),
        }

    with stage("asking about rendered scenes", len(probes)) as advance:
        return probes, store.collect("seeing", probes, _PART, make, advance)
