"""Whatever a model draws in, it judges what it sees; and whatever it computes in, scores are numbers."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from tests.model.small import small_model
from tests.model.test_spaces import MODELS
from unimm import on_pixels
from unimm.model.verifying import VERIFIERS

PROMPTS = ["a red star", "two blue circles"]
OPTIONS = {"num_inference_steps": 2, "seed": 1, "output_type": "latent"}


@pytest.mark.parametrize("name", MODELS)
def test_candidates_are_judged_as_they_are_seen(name):
    model = small_model(**MODELS[name])
    every = model.generate_image(PROMPTS, num_images_per_prompt=3, **OPTIONS)
    each = [prompt for prompt in PROMPTS for _ in range(3)]
    seen = model.to_seen(every.latents)
    for verifier in VERIFIERS:
        scores = model.verify(every.latents, each, verifier)
        kept = model.generate_image(PROMPTS, best_of=3, verifier=verifier, **OPTIONS)
        assert kept.scores == pytest.approx([max(scores[:3]), max(scores[3:])], abs=1e-4)
    assert seen.shape == (6, 9, 8)


@pytest.mark.parametrize("name", MODELS)
def test_a_function_is_given_what_would_be_drawn(name):
    model, given = small_model(**MODELS[name]), []
    channels = model.config.settings.dit.channels

    def judge(latents, prompts):
        given.append((tuple(latents.shape[1:]), prompts))
        return latents.mean((1, 2))

    picture = Image.new("RGB", (12, 12), "red")
    scores = model.verify([picture, picture], PROMPTS, judge)
    assert given == [((9, channels), PROMPTS)]
    assert scores[0] == pytest.approx(scores[1])
    drawn = model.generate_image(PROMPTS[0], **OPTIONS).latents
    assert model.verify(drawn, PROMPTS[0], judge) == pytest.approx([float(drawn.mean())])
    assert model.verify([picture], "a", on_pixels(lambda images, prompts: [images[0].size[0]])) == [
        model.config.settings.image_size
    ]


@pytest.mark.parametrize("verifier", [name for name in VERIFIERS if name != "answer_logits"])
def test_scores_of_a_bfloat16_model_are_near_those_of_its_float32_copy(verifier):
    half = small_model(seed=1).to(torch.bfloat16)
    full = small_model(seed=1).to(torch.bfloat16).float()
    latents = torch.randn(4, 9, 8, generator=torch.Generator().manual_seed(0)).bfloat16().float()
    found, expected = (model.verify(latents, PROMPTS[0], verifier) for model in (half, full))
    assert found == pytest.approx(expected, rel=0.05, abs=0.05)


def test_a_bfloat16_model_answers_too():
    """Which word it says hangs on a rounding; that it says one, and how strongly, does not."""
    half = small_model(seed=1).to(torch.bfloat16)
    assert torch.tensor(half.verify(torch.randn(4, 9, 8), PROMPTS[0])).isfinite().all()
