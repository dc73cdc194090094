"""Projectors and the alignment loss: known angles, several targets, gradients, and targets on other grids."""

from __future__ import annotations

import math

import pytest
import torch

from unimm.alignment import Projectors, alignment_loss, resample_tokens


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def at_angles(degrees):
    """Return unit vectors [B M 2] at these angles [B][M]."""
    angles = torch.tensor(degrees) * math.pi / 180
    return torch.stack([angles.cos(), angles.sin()], dim=-1)


def test_the_loss_is_minus_the_mean_cosine_of_each_sample_whatever_the_lengths():
    projected, target = 3 * at_angles([[0.0, 0.0], [0.0, 0.0]]), 0.1 * at_angles([[60.0, 0.0], [180.0, 90.0]])
    loss = alignment_loss([projected], [target])
    torch.testing.assert_close(loss, torch.tensor([-0.75, 0.5]), atol=1e-6, rtol=0)


def test_targets_count_alike_whatever_their_widths():
    opposite = torch.ones(1, 2, 7)
    loss = alignment_loss(
        [at_angles([[0.0, 0.0]]), opposite, opposite], [at_angles([[0.0, 0.0]]), -opposite, -opposite]
    )
    torch.testing.assert_close(loss, torch.tensor([1 / 3]))


def test_gradients_reach_every_projector_and_no_target():
    projectors = Projectors(6, (4, 5), hidden=8)
    targets = [randn(2, 9, 4).requires_grad_(), randn(2, 9, 5, seed=1).requires_grad_()]
    hidden = randn(2, 9, 6, seed=2).requires_grad_()
    alignment_loss(projectors(hidden), targets).mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in projectors.parameters())
    assert hidden.grad.any()
    assert all(target.grad is None for target in targets)


def test_half_precision_is_compared_in_float32():
    projected, target = randn(2, 9, 5), randn(2, 9, 5, seed=1)
    loss = alignment_loss([projected.bfloat16()], [target.bfloat16()])
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, alignment_loss([projected], [target]), atol=5e-3, rtol=0)


def test_a_vector_of_zeros_has_no_direction_and_no_nan():
    projected = torch.zeros(1, 1, 3, requires_grad=True)
    loss = alignment_loss([projected], [torch.ones(1, 1, 3)])
    loss.sum().backward()
    assert loss.tolist() == [0]
    assert projected.grad.isfinite().all()


def test_a_projector_is_two_silu_layers_and_a_linear_one():
    projectors = Projectors(3, (2,), hidden=4)
    x, (head,) = randn(1, 5, 3), projectors.heads
    silu = lambda x: x * torch.sigmoid(x)  # noqa: E731
    wanted = head.out(silu(head.second(silu(head.first(x)))))
    torch.testing.assert_close(projectors(x)[0], wanted)


def test_the_published_projector_has_8_13_million_parameters():
    with torch.device("meta"):
        projectors = Projectors(1152, (768,))
    assert round(sum(p.numel() for p in projectors.parameters()) / 1e6, 2) == 8.13


@pytest.mark.parametrize("how", ["bilinear", "bicubic", "area"])
def test_resampled_tokens_keep_their_places_and_their_mean(how):
    rows = torch.arange(8.0).repeat_interleave(8).reshape(1, 64, 1).expand(2, -1, -1)
    small = resample_tokens(rows, 16, how)
    assert small.shape == (2, 16, 1)
    torch.testing.assert_close(small[0, :, 0].unflatten(0, (4, 4)).std(1), torch.zeros(4), atol=1e-5, rtol=0)
    assert small[0, ::4, 0].diff().min() > 1.5
    torch.testing.assert_close(small.mean(), rows.mean(), atol=1e-4, rtol=0)


def test_area_resampling_is_the_mean_of_each_square():
    tokens = randn(1, 16, 3)
    squares = tokens.unflatten(1, (2, 2, 2, 2)).mean((2, 4)).flatten(1, 2)
    torch.testing.assert_close(resample_tokens(tokens, 4, "area"), squares)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda x: alignment_loss([x], [x, x]),
            "targets: expected one or more, as many as projectors, 1, got 2",
        ),
        (lambda x: alignment_loss([], []), "got 0"),
        (lambda x: alignment_loss([x], [x[:, :4]]), r"targets\[0\]: expected .*\(2, 9, 4\).*resample_tokens"),
        (lambda x: Projectors(5, (3,))(x), r"hidden: expected \[B M W\] with W=5, got 4"),
        (lambda x: Projectors(5, ()), "target_widths: expected at least one"),
        (lambda x: Projectors(5, (3, 0)), "target_widths: expected a positive number, got 0"),
        (lambda x: resample_tokens(x, 8), "num_tokens: expected a square"),
        (lambda x: resample_tokens(x, 4, "bilinar"), "did you mean 'bilinear'"),
    ],
)
def test_the_door_refuses(call, said):
    with pytest.raises(ValueError, match=said):
        call(randn(2, 9, 4))
