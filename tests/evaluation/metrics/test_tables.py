"""Tables of metrics, with the built-in model and with networks whose features are known."""

from __future__ import annotations

import numpy as np
import pytest

from unimm.evaluation.metrics import (
    LEAST_ERROR,
    Backbone,
    Distance,
    compare_pairs,
    passed_on,
    picture_statistics,
    psnr,
    reconstruction,
    ssim,
)
from unimm.world.held_out import sample_allowed
from unimm.world.render import render

MEANS = Backbone("means", lambda pictures: pictures.mean((1, 2)), lambda pictures: pictures[:, 0, 0] / 8)
FURTHEST = Distance("furthest", lambda a, b: (a - b).abs().amax((1, 2, 3)))


def noise(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)


def test_the_built_in_model_passes_its_world_on():
    from unimm import UniMM

    model = UniMM.from_pretrained("tiny")
    scenes = [sample_allowed(np.random.default_rng(seed)) for seed in range(3)]
    decoder = model.config.settings.decoder
    pictures = np.stack([render(scene, decoder.grid * decoder.patch_size) for scene in scenes])
    got = passed_on(model, pictures)
    scored = reconstruction(model, pictures, [FURTHEST])
    assert scored.metrics() == pytest.approx(
        {
            "psnr": psnr(pictures, got, LEAST_ERROR).mean(),
            "ssim_gaussian": ssim(pictures, got).mean(),
            "ssim_uniform": ssim(pictures, got, "uniform").mean(),
            "distance@furthest": (np.abs(pictures.astype(float) - got).max((1, 2, 3)) / 255).mean(),
        }
    )
    assert scored.metrics()["psnr"] > 20


def test_pairs_are_items_and_pictures_are_what_is_resampled():
    true, got = noise(70), noise(70, 1)
    scored = compare_pairs(true, got, [FURTHEST])
    assert scored.groups[:70] == tuple(map(str, range(70)))
    assert scored.groups == 4 * scored.groups[:70]
    assert list(scored.metrics()) == ["psnr", "ssim_gaussian", "ssim_uniform", "distance@furthest"]
    np.testing.assert_allclose(scored.values[:70], psnr(true, got))


def test_equal_pictures_have_a_finite_psnr():
    scored = compare_pairs(noise(2), noise(2))
    assert scored.metrics()["psnr"] == pytest.approx(20 * np.log10(255 / 0.5))


def test_sets_of_pictures_are_compared_under_the_name_of_the_network():
    same = picture_statistics(MEANS, noise(80), noise(80))
    assert same["frechet@means"] == pytest.approx(0, abs=1e-8)
    assert (same["precision@means"], same["recall@means"]) == (1, 1)
    assert 1 < same["inception_score@means"] < 3
    darker = picture_statistics(MEANS, noise(80), noise(80) // 2)
    assert darker["frechet@means"] > 10_000  # three channels, each about 64 levels darker
    assert (darker["precision@means"], darker["recall@means"]) == (0, 0)


def test_without_classes_there_is_no_inception_score():
    without = picture_statistics(Backbone("means", MEANS.features), noise(20), noise(20, 1))
    assert sorted(without) == ["frechet@means", "kernel@means", "precision@means", "recall@means"]
