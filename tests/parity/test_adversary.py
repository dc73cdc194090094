"""The discriminator and its augmentation against numbers recorded from RAE."""

from __future__ import annotations

import json
import re

import pytest
import torch

from unimm.training.adversary import (
    AugmentConfig,
    Discriminator,
    augment,
    generator_loss,
    hinge_loss,
    vanilla_loss,
)
from unimm.training.adversary.published import BACKBONE, HEADS, discriminator_sizes
from unimm.weights import load_strictly

TOLERANCE = {"atol": 2e-5, "rtol": 0}


def assert_logits(got, expected):
    """Compare at 2e-5 on logits of scale 5. Untrained norms are small and make larger ones: recorded
    evaluation logits of scale 63 are themselves 1e-4 from the same network in float64.
    """
    scale = max(1.0, float(expected.abs().max()) / 5)
    torch.testing.assert_close(got, expected, atol=2e-5 * scale, rtol=0)


def to_unit(x):
    """Return pixels in [0, 1] of the recorded ones in [-1, 1]."""
    return (x + 1) / 2


def build(recorded):
    backbone, heads = recorded.under("dino."), recorded.under("state.")
    said = json.loads(recorded.metadata["config"])["dino"]
    depths = [int(depth) for depth in re.findall(r"\d+", re.search(r"key_depths \(([\d, ]+)\)", said)[1])]
    sizes = discriminator_sizes(backbone, heads, int(re.search(r"heads(\d+)", said)[1]), depths)
    discriminator = Discriminator(sizes)
    load_strictly(discriminator.backbone, BACKBONE.read(backbone)[0])
    load_strictly(discriminator.heads, HEADS.read(heads)[0])
    return discriminator


@pytest.mark.parity("rae/discriminator_tiny")
def test_the_discriminator_gives_the_recorded_logits(recorded):
    discriminator, out = build(recorded).eval(), recorded.under("out.")
    fake, real = to_unit(recorded.tensors["in.fake"]), to_unit(recorded.tensors["in.real"])
    with torch.no_grad():
        assert_logits(discriminator(fake), out["logits_fake_eval"])
        assert_logits(discriminator(real), out["logits_real_eval"])
        loss = generator_loss(discriminator(fake))
    torch.testing.assert_close(loss, out["g_loss_from_eval_fake"], **TOLERANCE)


@pytest.mark.parity("rae/discriminator_tiny")
def test_training_refines_the_spectral_norms_as_recorded(recorded):
    discriminator, out = build(recorded).train(), recorded.under("out.")
    with torch.no_grad():
        fake = discriminator(to_unit(recorded.tensors["in.fake"]))
        real = discriminator(to_unit(recorded.tensors["in.real"]))
    assert_logits(fake, out["logits_fake_train"])
    assert_logits(real, out["logits_real_train"])
    torch.testing.assert_close(hinge_loss(real, fake), out["hinge_d_loss"], **TOLERANCE)
    torch.testing.assert_close(vanilla_loss(real, fake), out["vanilla_d_loss"], **TOLERANCE)
    after, state = recorded.under("state_after."), HEADS.write(discriminator.heads.state_dict())
    assert after
    for name, vector in after.items():
        torch.testing.assert_close(state[name], vector, **TOLERANCE, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.parity("rae/diffaug")
def test_augmentation_gives_the_recorded_pictures(recorded):
    probability = json.loads(recorded.metadata["config"])["prob"]
    draws = recorded.tensors["in.rand01"].flatten(1)
    happens = (recorded.tensors["in.rand3"] <= probability).tolist()
    pictures = recorded.under("out.cutout_")
    assert pictures
    for cutout, expected in pictures.items():
        config = AugmentConfig(probability=probability, cutout=float(cutout))
        got = augment(to_unit(recorded.tensors["in.x"]), draws, happens, config)
        torch.testing.assert_close(2 * got - 1, expected, **TOLERANCE)
