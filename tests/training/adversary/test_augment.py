"""unimm.training.adversary.augment: what moves where, what keeps its mean, what gradients see."""

from __future__ import annotations

import pytest
import torch

from unimm.training.adversary import AugmentConfig, augment, diff_augment

MIDDLE = torch.full((7, 2), 0.5)
"""Draws that change nothing: no move, no brightness, factors of one."""


def pictures(count=2, height=16, width=24):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def test_middling_draws_change_nothing():
    pixels = pictures()
    same = augment(pixels, MIDDLE, [True, True, False], AugmentConfig())
    torch.testing.assert_close(same, pixels)


def test_the_extreme_draws_move_by_the_whole_reach_and_leave_grey():
    pixels = pictures()
    draws = MIDDLE.clone()
    draws[0, 0], draws[1, 0] = 0.0, 0.999  # first picture: two rows down, three columns left
    moved = augment(pixels, draws, [True, False, False], AugmentConfig())
    torch.testing.assert_close(moved[0, :, 2:, :-3], pixels[0, :, :-2, 3:])
    assert (moved[0, :, :2] == 0.5).all()
    assert (moved[0, :, :, -3:] == 0.5).all()
    assert torch.equal(moved[1], pixels[1])


def test_no_saturation_is_grey_and_brightness_adds():
    pixels = pictures()
    draws = MIDDLE.clone()
    draws[3] = 0.0
    grey = augment(pixels, draws, [False, True, False], AugmentConfig())
    torch.testing.assert_close(grey, pixels.mean(1, keepdim=True).expand_as(pixels))
    draws = MIDDLE.clone()
    draws[2] = 1.0
    brighter = augment(pixels, draws, [False, True, False], AugmentConfig())
    torch.testing.assert_close(brighter, pixels + 0.25)


def test_contrast_keeps_the_mean_and_scales_about_it():
    pixels = pictures()
    draws = MIDDLE.clone()
    draws[4] = 1.0
    got = augment(pixels, draws, [False, True, False], AugmentConfig())
    mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
    torch.testing.assert_close(got, (pixels - mean) * 1.5 + mean)


def test_a_hole_is_grey_and_of_its_size():
    pixels = pictures() + 2  # nothing else is grey
    holed = augment(pixels, MIDDLE, [False, False, True], AugmentConfig(cutout=0.25))
    assert [(hole == 0.5).sum().item() for hole in holed[:, 0]] == [4 * 6] * 2
    assert torch.equal(augment(pixels, MIDDLE, [False, False, True], AugmentConfig()), pixels)


def test_gradients_reach_every_pixel_that_is_seen():
    pixels = pictures().requires_grad_()
    moved = augment(pixels, torch.zeros(7, 2), [True, False, False], AugmentConfig())
    moved.sum().backward()
    assert pixels.grad.sum().item() == 2 * 3 * (16 - 2) * (24 - 3)


def test_the_generator_decides():
    pixels, config = pictures(), AugmentConfig(cutout=0.2)
    first, again, other = (
        diff_augment(pixels, config, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    never = AugmentConfig(probability=0.0, cutout=0.2)
    assert torch.equal(diff_augment(pixels, never, torch.Generator().manual_seed(1)), pixels)


@pytest.mark.parametrize("name", ["probability", "translation", "cutout"])
def test_settings_outside_their_range_are_refused(name):
    with pytest.raises(ValueError, match=rf"augment.{name}: expected a number in \[0, 1\], got 1.5"):
        AugmentConfig(**{name: 1.5})


def test_draws_for_another_batch_are_refused():
    with pytest.raises(ValueError, match=r"draws: expected \[7 B\] with B=2"):
        augment(pictures(), torch.zeros(7, 3), [True, True, True], AugmentConfig())
