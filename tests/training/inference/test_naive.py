"""unimm.training.inference.naive: the same pictures and the same verdicts, the long way."""

from __future__ import annotations

import numpy as np
import pytest

from tests.model.small import small_model
from unimm import UniMM
from unimm.training.inference.naive import best_naively, judge_naively

PROMPTS = ["a red star", "two blue hearts"]
STEPS = {"num_inference_steps": 3}


@pytest.mark.parametrize("which", ["random", "tiny"])
def test_the_naive_verdict_is_the_model_s(which):
    model = small_model() if which == "random" else UniMM.from_pretrained("tiny").eval()
    drawn = model.generate_image(PROMPTS, num_images_per_prompt=2, seed=0, **STEPS).images
    asked = [prompt for prompt in PROMPTS for _ in range(2)]
    expected = model.verify(drawn, asked)
    found = [judge_naively(model, picture, prompt) for picture, prompt in zip(drawn, asked, strict=True)]
    assert found == pytest.approx(expected, abs=1e-4)


def test_the_best_of_the_same_candidates_is_returned():
    model = small_model()
    every = model.generate_image(PROMPTS, num_images_per_prompt=4, seed=7, **STEPS).images
    found = best_naively(model, PROMPTS, 4, seed=7, **STEPS)
    for place, prompt in enumerate(PROMPTS):
        mine = every[4 * place : 4 * place + 4]
        scores = model.verify(mine, prompt)
        wanted = mine[int(np.argmax(scores))]
        assert np.abs(np.asarray(found[place], int) - np.asarray(wanted, int)).max() <= 1
