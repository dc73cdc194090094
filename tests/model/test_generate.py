"""Drawing: each picture is a function of its prompt and its seed, and only the winners become pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tests.model.small import small_model, small_tokenizer
from unimm.flow.solver import euler
from unimm.model.drawing import Sampling, conditions_of
from unimm.parts import Image as Picture
from unimm.parts import Text, Turn
from unimm.request import noise_of
from unimm.text.chat import collate, render

PROMPTS = ["a red star", "two blue circles to the left of a green square, all of them on grey"]
STEPS = {"num_inference_steps": 4}


@pytest.fixture(scope="module")
def model():
    return small_model()


def draw(model, prompt, **options):
    return model.generate_image(prompt, **{**STEPS, "output_type": "latent", **options})


def test_a_picture_is_the_same_alone_and_in_a_batch(model):
    together = draw(model, PROMPTS, seed=3, num_images_per_prompt=3)
    assert together.seeds == [3, 4, 5, 6, 7, 8]
    for index, seed in enumerate(together.seeds):
        alone = draw(model, PROMPTS[index // 3], seed=seed)
        torch.testing.assert_close(alone.latents[0], together.latents[index], rtol=0, atol=1e-4)


def test_many_candidates_go_through_in_passes(model, monkeypatch):
    whole = draw(model, PROMPTS, seed=3, num_images_per_prompt=3).latents
    steps = []
    monkeypatch.setattr("unimm.request.PASS", 4)
    pieces = draw(
        model,
        PROMPTS,
        seed=3,
        num_images_per_prompt=3,
        callback=lambda step, total: steps.append((step, total)),
    ).latents
    torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-4)
    assert steps == [(step, 8) for step in range(1, 9)]


def test_prompt_and_seed_both_matter(model):
    first = draw(model, PROMPTS[0], seed=0).latents
    assert torch.equal(first, draw(model, PROMPTS[0], seed=0).latents)
    assert not torch.allclose(first, draw(model, PROMPTS[0], seed=1).latents, atol=1e-2)
    assert not torch.allclose(first, draw(model, PROMPTS[1], seed=0).latents, atol=1e-3)


def test_the_sampler_is_euler_on_the_clean_grid_from_the_seeds_noise(model):
    alpha = model.config.settings.alpha
    z = conditions_of(model, PROMPTS[:1])
    grid = torch.linspace(1, 0, 5, dtype=torch.float64)
    grid = alpha * grid / (1 + (alpha - 1) * grid)
    noise = torch.randn(1, 9, 8, generator=torch.Generator().manual_seed(7))
    expected = euler(lambda x, t: model.dit(x, t, z), noise, grid)
    torch.testing.assert_close(draw(model, PROMPTS[0], seed=7).latents, expected, rtol=0, atol=1e-5)
    assert torch.equal(noise_of([7], 9, 8), noise)


def test_drawing_asks_the_llm_exactly_as_training_does(model):
    turns = [
        Turn("user", (Text("Generate an image of a red star"),)),
        Turn("assistant", (Picture(target=True),)),
    ]
    trained = collate([render(turns, small_tokenizer(), 9)], 0)
    with torch.no_grad():
        expected = model.connector(model.query_states(trained))
        torch.testing.assert_close(conditions_of(model, ["a red star"]), expected, rtol=1e-4, atol=1e-5)


def test_guidance_is_the_weighted_sum_of_two_velocities(model):
    z = conditions_of(model, PROMPTS[:1])
    null = model.dit.null_condition.expand_as(z)
    noise, w = noise_of([7], 9, 8), 3.0
    with torch.no_grad():
        one = torch.ones(1)
        v_c, v_u = model.dit(noise, one, z), model.dit(noise, one, null)
    found = draw(model, PROMPTS[0], seed=7, num_inference_steps=1, guidance_scale=w).latents
    torch.testing.assert_close(found, noise - (v_u + w * (v_c - v_u)), rtol=1e-4, atol=1e-4)


def test_a_negative_prompt_takes_the_place_of_the_null_condition(model):
    same = draw(model, PROMPTS[0], seed=7, guidance_scale=4.0, negative_prompt=PROMPTS[0]).latents
    torch.testing.assert_close(same, draw(model, PROMPTS[0], seed=7).latents, rtol=1e-3, atol=1e-3)
    other = draw(model, PROMPTS[0], seed=7, guidance_scale=4.0, negative_prompt=PROMPTS[1]).latents
    assert not torch.allclose(other, same, atol=1e-2)


def test_guidance_costs_two_evaluations_and_none_costs_one(model):
    calls = []
    hook = model.dit.register_forward_hook(lambda *_: calls.append(1))
    draw(model, PROMPTS[0], seed=0)
    draw(model, PROMPTS[0], seed=0, guidance_scale=2.0)
    hook.remove()
    assert len(calls) == 4 + 8


def test_a_model_without_null_condition_cannot_be_guided():
    import dataclasses

    from tests.model.small import small_settings

    model = small_model(dit=dataclasses.replace(small_settings().dit, guidable=False))
    assert draw(model, PROMPTS[0], seed=0).latents.shape == (1, 9, 8)
    with pytest.raises(ValueError, match="guidance_scale"):
        draw(model, PROMPTS[0], guidance_scale=2.0)


def test_the_published_sampler_makes_one_evaluation_less(model):
    calls = []
    hook = model.dit.register_forward_hook(lambda *_: calls.append(1))
    draw(model, PROMPTS[0], seed=0, num_inference_steps=50, sampler="scale_rae")
    hook.remove()
    assert len(calls) == 49
    assert Sampling(50, solver="clean").times(8.5)[0] == 1
    assert Sampling(50, solver="clean").times(8.5)[-1] == 0


def test_the_best_of_n_are_kept_and_only_they_are_decoded(model, monkeypatch):
    decoded, original = [], model.decode_latents
    monkeypatch.setattr(model, "decode_latents", lambda z: decoded.append(len(z)) or original(z))
    everything = draw(model, PROMPTS, seed=0, num_images_per_prompt=5)

    def brightness(latents, prompts):
        assert prompts == [PROMPTS[0]] * 5 + [PROMPTS[1]] * 5
        return latents.mean((1, 2))

    kept = model.generate_image(
        PROMPTS, seed=0, num_images_per_prompt=2, best_of=5, verifier=brightness, **STEPS
    )
    assert decoded == [4]
    assert len(kept.images) == 4
    values = everything.latents.mean((1, 2)).unflatten(0, (2, 5))
    order = values.argsort(1, descending=True)[:, :2]
    assert kept.seeds == [0 + i for i in order[0].tolist()] + [5 + i for i in order[1].tolist()]
    torch.testing.assert_close(
        torch.tensor(kept.scores), values.gather(1, order).flatten(), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("verifier", ["answer_logits", "prompt_confidence", "p_yes"])
def test_scores_are_those_of_verify(model, verifier):
    kept = draw(model, PROMPTS, seed=0, num_images_per_prompt=1, best_of=3, verifier=verifier)
    every = draw(model, PROMPTS, seed=0, num_images_per_prompt=3).latents
    scores = model.verify(every, [PROMPTS[0]] * 3 + [PROMPTS[1]] * 3, verifier)
    assert kept.scores == pytest.approx([max(scores[:3]), max(scores[3:])], abs=1e-4)


def test_a_choice_without_a_verifier_asks_for_answers(model):
    default = draw(model, PROMPTS[0], seed=0, best_of=3)
    assert default.scores == draw(model, PROMPTS[0], seed=0, best_of=3, verifier="answer_logits").scores
    assert draw(model, PROMPTS[0], seed=0).scores is None


def test_pictures_come_in_the_form_asked_for(model):
    kinds = {
        kind: model.generate_image(PROMPTS[0], seed=0, output_type=kind, **STEPS).images
        for kind in ("pil", "pt", "np", "latent")
    }
    assert isinstance(kinds["pil"][0], Image.Image)
    assert kinds["pil"][0].size == (12, 12)
    assert kinds["pt"].shape == (1, 3, 12, 12)
    assert kinds["np"].shape == (1, 12, 12, 3)
    assert kinds["latent"].shape == (1, 9, 8)
    np.testing.assert_array_equal(np.asarray(kinds["pil"][0]), np.rint(kinds["np"][0] * 255).astype(np.uint8))


def test_bytes_are_rounded_or_truncated_as_the_profile_says():
    model = small_model()
    model.profile = "reference"
    cut = model.generate_image(PROMPTS[0], seed=0, sampler="clean", **STEPS).images[0]
    exact = model.generate_image(PROMPTS[0], seed=0, sampler="clean", output_type="np", **STEPS).images[0]
    exact = exact * np.float32(255)
    np.testing.assert_array_equal(np.asarray(cut), np.floor(exact).astype(np.uint8))
    assert (np.asarray(cut) != np.rint(exact)).any()


def test_noise_and_state_are_float32_in_a_bfloat16_model():
    model = small_model().to(torch.bfloat16)
    seen = []
    model.dit.register_forward_hook(lambda room, inputs, out: seen.append((inputs[0].dtype, inputs[1].dtype)))
    out = draw(model, PROMPTS[0], seed=0)
    assert set(seen) == {(torch.float32, torch.float32)}
    assert out.latents.dtype == torch.float32


def test_without_a_seed_pictures_differ_and_can_be_drawn_again(model):
    first, second = draw(model, PROMPTS[0]), draw(model, PROMPTS[0])
    assert first.seeds != second.seeds
    torch.testing.assert_close(draw(model, PROMPTS[0], seed=first.seeds[0]).latents, first.latents)


def test_each_prompt_may_have_its_own_seed(model):
    out = draw(model, PROMPTS, seed=[11, 5], num_images_per_prompt=2)
    assert out.seeds == [11, 12, 5, 6]


@pytest.mark.parametrize(
    ("prompt", "options", "words"),
    [
        ("", {}, "prompt: expected some words, got an empty text"),
        ("  \n", {}, "empty text"),
        ([], {}, "expected text or a list"),
        (["a", 3], {}, r"prompt\[1\]: expected text, got int"),
        ("a " * 300, {}, "expected at most 160 tokens"),
        ("a", {"best_of": 0}, "best_of: expected a whole number of at least 1, got 0"),
        ("a", {"num_images_per_prompt": -1}, "num_images_per_prompt: .* got -1"),
        (
            "a",
            {"num_images_per_prompt": 4, "best_of": 2},
            "best_of: expected at least num_images_per_prompt=4, got 2",
        ),
        ("a", {"num_inference_steps": 0}, "num_inference_steps: .* got 0"),
        ("a", {"output_type": "gif"}, "output_type: .* got 'gif'"),
        ("a", {"sampler": "hein"}, "solver: .* got 'hein'; did you mean 'heun'"),
        ("a", {"verifier": "answer_logit"}, "did you mean 'answer_logits'"),
        ("a", {"seed": [1, 2]}, "seed: expected one number, or one for each of 1 prompts, got 2"),
        ("a", {"seed": -1}, "seed: expected a whole number of 0 or more"),
    ],
)
def test_what_cannot_be_drawn_is_refused(model, prompt, options, words):
    with pytest.raises(ValueError, match=words):
        model.generate_image(prompt, **options)


def test_a_model_without_tokenizer_says_so():
    model = small_model()
    model.tokenizer = None
    with pytest.raises(ValueError, match="tokenizer: this model has none"):
        model.generate_image("a")


def test_without_a_word_about_guidance_the_models_own_is_used():
    guided = small_model(guidance_scale=3.0)
    own = guided.generate_image(PROMPTS[0], seed=7, num_inference_steps=2).latents
    asked = guided.generate_image(PROMPTS[0], seed=7, num_inference_steps=2, guidance_scale=3.0).latents
    none = guided.generate_image(PROMPTS[0], seed=7, num_inference_steps=2, guidance_scale=1.0).latents
    assert torch.equal(own, asked)
    assert not torch.equal(own, none)
