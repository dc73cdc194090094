"""Drawing by text: what the body is told, what guidance leads away from, and what was too long."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch

from tests.generator.small import MMDIT, class_settings, text_generator, text_settings
from tests.text.small_sd3 import small_config
from unimm.dit.mmdit import TextConditions
from unimm.flow.grids import clean_grid
from unimm.flow.solver import euler
from unimm.generator import TextGenerator
from unimm.request import noise_of

STEPS = {"num_inference_steps": 3, "output_type": "latent"}
PROMPT = "a red circle"
CLOSE = {"rtol": 1e-4, "atol": 1e-4}  # guidance sums in another order; latents are of the size of 10


@pytest.fixture(scope="module")
def model():
    return text_generator()


def by_hand(model, told, away=None, scale=1.0, seed=4):
    """Three Euler steps under what the body is told, led away from something else."""

    def velocity(x, t):
        v = model.dit(x, t, told)
        return v if away is None else model.dit(x, t, away) + scale * (v - model.dit(x, t, away))

    return euler(velocity, noise_of([seed], 9, 8), clean_grid(3, model.settings.alpha))


def test_a_prompt_is_drawn_under_its_own_conditions(model):
    drawn = model.generate(PROMPT, seed=4, **STEPS)
    told = TextConditions(*model.text.encode([PROMPT]))
    torch.testing.assert_close(drawn.latents, by_hand(model, told))


def test_text_is_projected_once_per_drawing(model):
    projected = []
    handle = model.dit.context.register_forward_hook(lambda *_: projected.append(1))
    model.generate(PROMPT, seed=4, guidance_scale=2.5, **STEPS)
    handle.remove()
    assert len(projected) == 2


def test_guidance_leads_away_from_no_text_at_all(model):
    drawn = model.generate(PROMPT, seed=4, guidance_scale=2.5, **STEPS).latents
    told = TextConditions(*model.text.encode([PROMPT]))
    away = TextConditions(torch.zeros(1, 17, 32), torch.zeros(1, 16))
    torch.testing.assert_close(drawn, by_hand(model, told, away, 2.5), **CLOSE)


@pytest.mark.parametrize("negative", ["", "two blue stars"])
def test_guidance_leads_away_from_a_negative_prompt(model, negative):
    drawn = model.generate(PROMPT, negative_prompt=negative, seed=4, guidance_scale=2.5, **STEPS).latents
    told, away = (TextConditions(*model.text.encode([text])) for text in (PROMPT, negative))
    torch.testing.assert_close(drawn, by_hand(model, told, away, 2.5), **CLOSE)


def test_a_generator_may_name_its_own_negative_prompt(model):
    named = text_generator(sampling={"negative_prompt": "", "guidance_scale": 2.5})
    drawn = named.generate(PROMPT, seed=4, **STEPS).latents
    asked = model.generate(PROMPT, negative_prompt="", seed=4, guidance_scale=2.5, **STEPS).latents
    torch.testing.assert_close(drawn, asked)


def test_a_negative_prompt_of_the_settings_can_be_switched_off(model):
    named = text_generator(sampling={"negative_prompt": "two blue stars", "guidance_scale": 2.5})
    drawn = named.generate(PROMPT, negative_prompt=None, seed=4, **STEPS).latents
    torch.testing.assert_close(drawn, model.generate(PROMPT, seed=4, guidance_scale=2.5, **STEPS).latents)


def test_a_text_encoder_left_out_needs_no_tokenizer_and_is_not_said_to_cut():
    model = text_generator()
    del model.text.words["t5"]
    drawn = model.generate(PROMPT * 8, without="t5", seed=0, **STEPS)
    assert drawn.cut
    assert not any("t5" in line for line in drawn.cut)


def test_a_picture_depends_on_its_own_seed_and_prompt_alone(model, monkeypatch):
    alone = model.generate(PROMPT, seed=5, **STEPS).latents
    prompts = ["two blue stars", PROMPT, "three hearts"]
    many = model.generate(prompts, seed=4, **STEPS).latents
    torch.testing.assert_close(many[1:2], alone)
    several = model.generate(prompts[:2], num_images_per_prompt=2, seed=[0, 4], **STEPS)
    torch.testing.assert_close(several.latents[3:], alone)
    assert several.seeds == [0, 1, 4, 5]
    monkeypatch.setattr("unimm.request.PASS", 2)
    torch.testing.assert_close(model.generate(prompts, seed=4, **STEPS).latents, many)


def test_t5_can_be_left_out(model):
    whole = model.generate(PROMPT, seed=4, **STEPS).latents
    drawn = model.generate(PROMPT, without=["t5"], seed=4, **STEPS).latents
    told = TextConditions(*model.text.encode([PROMPT], without=["t5"]))
    torch.testing.assert_close(drawn, by_hand(model, told))
    assert not torch.allclose(drawn, whole)


def test_a_generator_without_t5_draws_as_one_that_leaves_it_out(model):
    lighter = text_generator(text=asdict(small_config(("clip_l", "clip_g"))))
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("text.towers.t5")}
    lighter.load_state_dict(state)
    drawn = lighter.generate(PROMPT, seed=4, **STEPS).latents
    torch.testing.assert_close(drawn, model.generate(PROMPT, without="t5", seed=4, **STEPS).latents)


def test_a_weaker_generator_guides_under_the_same_prompt(model):
    weaker = text_generator(seed=3)
    options = {**STEPS, "num_inference_steps": 1, "seed": 2}
    guided = model.generate(PROMPT, guide=weaker, guidance_scale=1.5, **options).latents
    ours, theirs = (each.generate(PROMPT, **options).latents for each in (model, weaker))
    torch.testing.assert_close(guided, theirs + 1.5 * (ours - theirs))


def test_a_prompt_too_long_is_named(model):
    cut = model.generate(["a", PROMPT * 8], seed=0, num_inference_steps=1).cut
    assert any(line.startswith("prompt 1: t5 reads 7 tokens") for line in cut)
    assert not any(line.startswith("prompt 0") for line in cut)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": " "}, "prompt: expected some words"),
        ({"without": ["t6"]}, "without: .* got 't6'"),
        ({"num_inference_steps": 0}, "steps: expected at least 1"),
        ({"guidance_interval": (0.8, 0.2)}, "interval: expected"),
        ({"negative_prompt": ["a", "b"]}, r"negative_prompt: expected one text .* got \['a', 'b'\]"),
        ({"size": 3}, r"size: expected \(rows, columns\), .* got 3"),
        ({"size": (3, 0)}, r"size: expected \(rows, columns\), .* got \(3, 0\)"),
        ({"guidance_interval": (0.0, 0.5, 1.0)}, r"interval: expected two times .* got \(0.0, 0.5, 1.0\)"),
        ({"seed": [1, 2]}, "seed: expected one number, or one for each of 1 prompts"),
    ],
)
def test_a_request_that_cannot_be_is_named(model, options, message):
    with pytest.raises(ValueError, match=message):
        model.generate(**{"prompt": PROMPT, **options})


@pytest.mark.parametrize("name", ["sequence_width", "pooled_width"])
def test_a_body_told_by_other_text_is_refused(name):
    with pytest.raises(ValueError, match=f"body.{name}: expected the text's"):
        text_settings(body={**MMDIT, name: 20})


def test_a_generator_by_text_needs_text_and_a_body_that_reads_it():
    with pytest.raises(ValueError, match="text: expected text encoders .*kind 'ddt' and text null"):
        TextGenerator(class_settings())


def test_pictures_of_other_aspect_ratios_are_drawn_on_their_own_grid():
    pixels = {"kind": "pixels", "patch_size": 2, "image_size": 6}
    wide = text_generator(body={**MMDIT, "channels": 12, "max_grid": 6}, latents=pixels)
    drawn = wide.generate(PROMPT, size=(2, 5), seed=0, num_inference_steps=2, output_type="pt")
    assert drawn.images.shape == (1, 3, 4, 10)
    assert drawn.latents.shape == (1, 10, 12)
    with pytest.raises(ValueError, match="size"):
        wide.generate(PROMPT, size=(2, 7), seed=0, num_inference_steps=2)


def test_a_decoder_of_one_grid_refuses_another(model):
    with pytest.raises(ValueError, match="size: expected 3 x 3, the grid of this decoder|crop"):
        model.generate(PROMPT, size=(1, 3), seed=0, num_inference_steps=1)
