"""Drawing by class: a picture is its label and its seed; guidance is what its formula says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.generator.small import (
    BODIES,
    BY_CLASS,
    RAE,
    class_generator,
    class_settings,
    text_generator,
    text_settings,
)
from unimm.flow.grids import clean_grid
from unimm.flow.sampling import SAMPLERS
from unimm.flow.sde import draws, euler_maruyama
from unimm.flow.solver import euler
from unimm.generator import ClassGenerator
from unimm.request import noise_of

STEPS = {"num_inference_steps": 4, "output_type": "latent"}


@pytest.fixture(scope="module")
def model():
    return class_generator()


def own_velocity(model, labels, dropped=None):
    """The body's output, which for these settings is the velocity."""
    null = None if dropped is None else torch.full(labels.shape, dropped)
    return lambda x, t: model.dit(x, t, labels, null)


@pytest.mark.parametrize("kind", BODIES)
def test_every_body_draws_by_euler_on_the_shifted_grid_from_the_seeds_noise(kind):
    model = class_generator(kind)
    drawn = model.generate([2], seed=7, **STEPS)
    alpha = (9 * 8 / 4096) ** 0.5
    expected = euler(own_velocity(model, torch.tensor([2])), noise_of([7], 9, 8), clean_grid(4, alpha))
    torch.testing.assert_close(drawn.latents, expected)
    assert drawn.seeds == [7]


def test_labels_are_looked_up_once_per_drawing(model):
    looked_up = []
    handle = model.dit.labels.register_forward_hook(lambda *_: looked_up.append(1))
    model.generate([2], seed=7, guidance_scale=2.0, **STEPS)
    model.generate([2], seed=7, guidance_scale=1.0, **STEPS)
    handle.remove()
    assert len(looked_up) == 2 + 1


def test_a_picture_depends_on_its_own_seed_and_label_alone(model, monkeypatch):
    alone = model.generate("moon", seed=5, **STEPS).latents
    many = model.generate(["star", "moon", 3], seed=4, **STEPS)
    torch.testing.assert_close(many.latents[1:2], alone)
    several = model.generate("moon", seed=3, num_images_per_label=4, **STEPS)
    torch.testing.assert_close(several.latents[2:3], alone)
    assert several.seeds == [3, 4, 5, 6]
    monkeypatch.setattr("unimm.request.PASS", 2)
    in_passes = model.generate(["star", "moon", 3], seed=4, **STEPS)
    torch.testing.assert_close(in_passes.latents, many.latents)


@pytest.mark.parametrize("solver", [name for name, row in SAMPLERS.items() if row.times is None])
def test_every_solver_draws_the_same_alone_and_in_company(model, solver):
    options = {**STEPS, "solver": solver, "grid": "sde"}
    alone = model.generate("moon", seed=5, **options).latents
    together = model.generate(["star", "moon"], seed=[9, 5], **options).latents
    torch.testing.assert_close(together[1:], alone)


def test_a_noisy_solver_draws_on_from_the_pictures_own_generator(model):
    drawn = model.generate([1], seed=3, solver="euler_maruyama", **STEPS).latents
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(9, 8, generator=generator)[None]
    grid = clean_grid(4, model.settings.alpha)
    velocity = own_velocity(model, torch.tensor([1]))
    torch.testing.assert_close(drawn, euler_maruyama(velocity, noise, grid, draw=draws([generator])))


def test_guidance_is_the_formula_inside_its_interval(model):
    labels, interval = torch.tensor([0]), (0.2, 0.6)
    drawn = model.generate(0, seed=2, guidance_scale=3.0, guidance_interval=interval, **STEPS).latents
    conditional, null = own_velocity(model, labels), own_velocity(model, labels, True)

    def velocity(x, t):
        v = conditional(x, t)
        inside = interval[0] <= float(t[0]) <= interval[1]
        return null(x, t) + 3.0 * (v - null(x, t)) if inside else v

    expected = euler(velocity, noise_of([2], 9, 8), clean_grid(4, model.settings.alpha))
    torch.testing.assert_close(drawn, expected)


def test_the_first_channels_can_be_guided_alone(model):
    options = {**STEPS, "num_inference_steps": 1, "seed": 2}
    plain, whole = (model.generate(0, guidance_scale=s, **options).latents for s in (1.0, 3.0))
    some = model.generate(0, guidance_scale=3.0, guidance_channels=3, **options).latents
    torch.testing.assert_close(some, torch.cat([whole[..., :3], plain[..., 3:]], -1))


def test_guided_channels_of_the_settings_can_be_switched_off(model):
    some = class_generator(sampling={"guidance_channels": 3, "guidance_scale": 3.0})
    drawn = some.generate(0, seed=2, guidance_channels=None, **STEPS).latents
    assert torch.equal(drawn, model.generate(0, seed=2, guidance_scale=3.0, **STEPS).latents)
    assert not torch.allclose(drawn, some.generate(0, seed=2, **STEPS).latents)


def test_a_guide_that_would_not_be_asked_is_refused(model):
    with pytest.raises(ValueError, match="guide: expected guidance_scale other than 1"):
        model.generate(0, guide=class_generator("lightning", seed=5), seed=0, **STEPS)
    with pytest.raises(ValueError, match="guide: expected guidance_scale other than 1"):
        text_generator().generate("a star", guide=text_generator(seed=3), seed=0, **STEPS)


def test_a_weaker_generator_guides_under_the_same_label(model):
    weaker = class_generator("lightning", seed=5)
    options = {**STEPS, "num_inference_steps": 1, "seed": 2}
    guided = model.generate("cross", guide=weaker, guidance_scale=1.5, **options).latents
    ours, theirs = (each.generate("cross", **options).latents for each in (model, weaker))
    # One Euler step from the same noise is linear in the velocity.
    torch.testing.assert_close(guided, theirs + 1.5 * (ours - theirs))


def test_prediction_of_clean_data_is_turned_into_velocity():
    model = class_generator("lightning", flow={"prediction": "x"})
    x, t = torch.randn(2, 9, 8), torch.tensor([0.25, 0.8])
    labels = torch.tensor([0, 3])
    clean = model.dit(x, t, labels)
    torch.testing.assert_close(model.velocity(x, t, labels), (x - clean) / t[:, None, None])


def test_forms_of_output_agree(model):
    options = {"seed": 1, "num_inference_steps": 2}
    pixels = model.generate([0, 1], output_type="pt", **options).images
    assert pixels.shape == (2, 3, 24, 24)
    assert pixels.min() >= 0
    assert pixels.max() <= 1
    array = model.generate([0, 1], output_type="np", **options).images
    np.testing.assert_allclose(array, pixels.permute(0, 2, 3, 1).numpy())
    picture = model.generate([0, 1], **options).images[1]
    np.testing.assert_allclose(np.asarray(picture) / 255, array[1], atol=0.5 / 255 + 1e-6)
    latents = model.generate([0, 1], output_type="latent", **options)
    assert latents.images is latents.latents
    raw = model.space.statistics.restore(latents.latents)
    torch.testing.assert_close(pixels, model.space.decoder(raw).clamp(0, 1))


def test_progress_is_told_over_all_passes(model, monkeypatch):
    monkeypatch.setattr("unimm.request.PASS", 1)
    told = []
    model.generate([0, 1], seed=0, callback=lambda *step: told.append(step), **STEPS)
    assert told == [(i, 8) for i in range(1, 9)]


def test_sampling_settings_are_the_callers_defaults():
    model = class_generator(sampling={"num_inference_steps": 3, "guidance_scale": 2.0})
    default = model.generate(0, seed=0, output_type="latent").latents
    asked = model.generate(0, seed=0, num_inference_steps=3, guidance_scale=2.0, output_type="latent").latents
    assert torch.equal(default, asked)
    assert not torch.allclose(default, model.generate(0, seed=0, guidance_scale=1.0, **STEPS).latents)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": 4}, "labels: expected whole numbers from 0 to 3, got 4"),
        ({"labels": "stra"}, "labels: unknown class 'stra'; did you mean 'star'?"),
        ({"labels": []}, "labels: expected at least one class, got none"),
        ({"num_inference_steps": 0}, "steps: expected at least 1, got 0"),
        ({"guidance_interval": (0.8, 0.2)}, r"interval: expected \(low, high\) with low <= high"),
        ({"guidance_interval": (0, 700)}, r"interval: .* in \[0, 1\] .* got \(0, 700\); .* divided by 1000"),
        ({"guidance_interval": 0.5}, "interval: expected two times"),
        ({"guidance_scale": float("nan")}, "guidance_scale: expected a finite number .* got nan"),
        ({"guidance_scale": float("inf")}, "guidance_scale: expected a finite number .* got inf"),
        ({"solver": "eular"}, "solver: .*did you mean 'euler'"),
        ({"grid": "clena"}, "grid: .*did you mean 'clean'"),
        ({"output_type": "png"}, "output_type: expected 'pil'"),
        ({"seed": [1, 2]}, "seed: expected one number, or one for each of 1 labels, got 2"),
        ({"num_images_per_label": 0}, "num_images_per_label: expected a whole number of at least 1"),
    ],
)
def test_a_request_that_cannot_be_is_named(model, options, message):
    with pytest.raises(ValueError, match=message):
        model.generate(**{"labels": 0, **options})


def test_a_guide_of_other_latents_is_named(model):
    body = {**BODIES["lightning"], "channels": 4}
    rae = {
        "kind": "rae",
        "encoder": {**RAE["encoder"], "width": 4},
        "decoder": {**RAE["decoder"], "channels": 4},
    }
    other = class_generator("lightning", body=body, latents=rae)
    with pytest.raises(ValueError, match="guide: expected latents of channels 8 .* got 4"):
        model.generate(0, guide=other, guidance_scale=2.0)


def test_a_guide_of_another_kind_is_named(model):
    with pytest.raises(ValueError, match="guide: expected a ClassGenerator, got a TextGenerator"):
        model.generate(0, guide=text_generator(), guidance_scale=2.0)
    with pytest.raises(ValueError, match="guide: expected a TextGenerator, got a ClassGenerator"):
        text_generator().generate("a star", guide=model, guidance_scale=2.0)


def test_labels_may_be_numbers_of_numpy(model):
    assert model.numbers_of(np.int64(2)).tolist() == [2]
    assert model.numbers_of(np.array([1, 3])).tolist() == [1, 3]


def test_a_body_without_a_null_label_cannot_be_guided():
    model = class_generator(body={**BODIES["ddt"], "guidable": False})
    model.generate(0, seed=0, **STEPS)
    with pytest.raises(ValueError, match="null label: this model was built without one"):
        model.generate(0, seed=0, guidance_scale=2.0, **STEPS)


@pytest.mark.parametrize(
    ("shape", "message"), [((1, 8, 8), "with N=9, got 8"), ((1, 9, 7), "with C=8, got 7")]
)
def test_latents_of_another_grid_or_width_are_not_shown(model, shape, message):
    with pytest.raises(ValueError, match=f"latents: expected .*{message}"):
        model.decode_latents(torch.zeros(shape))


def test_latents_that_are_not_finite_are_not_shown(model):
    latents = torch.zeros(1, 9, 8)
    latents[0, 3, 2] = torch.nan
    with pytest.raises(ValueError, match="latents: expected finite numbers"):
        model.decode_latents(latents)


def test_a_velocity_that_diverges_is_named(model):
    with pytest.raises(ValueError, match="drawn latents: expected finite numbers"):
        model.generate(0, seed=0, guidance_scale=1e38, **STEPS)


def test_pixels_become_the_encoders_normalised_latents(model):
    pixels = torch.rand(2, 3, 12, 12)
    expected = model.space.statistics.normalise(model.space.encoder.encode(pixels))
    assert torch.equal(model.encode_image(pixels), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"body": {**BODIES["ddt"], "kind": "dtd"}}, "body.kind: .*did you mean 'ddt'"),
        ({"body": BY_CLASS}, "body.kind: expected one of .*, found none"),
        ({"body": {**BODIES["ddt"], "dephth": 3}}, "body: unknown key 'dephth'; did you mean 'depth'"),
        ({"body": {**BODIES["ddt"], "grid": 4}}, "body: expected grid=3 and channels=8 as the latents have"),
        ({"latents": {**RAE, "kind": "ray"}}, "latents.kind: .*did you mean 'rae'"),
        (
            {"latents": {**RAE, "encoder": {**RAE["encoder"], "width": 4}}},
            "rae.decoder: expected .*'channels': 4",
        ),
        ({"class_names": ("star",)}, "class_names: expected 4, one for each class, got 1"),
        ({"flow": {"prediction": "y"}}, "prediction: expected one of velocity, x, eps"),
        ({"flow": {"alpha": -1.0}}, "alpha: expected a positive shift or null, got -1"),
        ({"sampling": {"num_inference_steps": 0}}, "steps: expected at least 1, got 0"),
        ({"sampling": {"guidance_channels": 0}}, "guidance_channels: expected at least 1 or null"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        class_settings(**changes)


def test_a_body_that_reads_text_is_no_generator_by_class():
    with pytest.raises(ValueError, match="body.num_classes: expected a number .*kind 'mmdit'"):
        ClassGenerator(text_settings())


def test_the_shift_is_by_dimension_unless_named():
    assert class_settings().alpha == pytest.approx((9 * 8 / 4096) ** 0.5)
    assert class_settings(flow={"shift_base": 18}).alpha == pytest.approx(2.0)
    assert class_settings(flow={"alpha": 3.0}).alpha == 3.0
