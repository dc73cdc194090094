"""Guidance: formulas, intervals of each sample's own time, and who is asked how often."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from unimm.flow import ALWAYS, NEVER, autoguided, channel_guided, clean_grid, guided
from unimm.flow.guidance import Blended, velocity_at
from unimm.flow.sde import euler_maruyama
from unimm.flow.solver import euler, heun, integrate_transitions, rk4

X = torch.arange(12.0).reshape(3, 2, 2)
T = torch.tensor([0.1, 0.5, 0.8])


def plus(amount, calls=None):
    def velocity(x, t):
        if calls is not None:
            calls.append(tuple(x.shape))
        return x + amount

    return velocity


class Unwaited(torch.utils._python_dispatch.TorchDispatchMode):
    """Refuses to hand a value to the host while it is on."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func is not torch.ops.aten.sum.default, "a device was asked how many times are inside"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("guide_by", [guided, autoguided, channel_guided])
def test_each_velocity_is_asked_once_on_its_own_batch_and_not_where_it_is_idle(guide_by):
    main, guide = [], []
    velocity = lambda scale, interval: guide_by(plus(1, main), plus(0, guide), scale, interval)  # noqa: E731
    channels = {"num_channels": 1} if guide_by is channel_guided else {}
    guide_by(plus(1, main), plus(0, guide), 3.0, **channels)(X, T)
    assert (main, guide) == ([(3, 2, 2)], [(3, 2, 2)])
    for scale, interval in ((1.0, ALWAYS), (3.0, NEVER), (3.0, (0.2, 0.4))):
        velocity(scale, interval)(X, T)
    assert len(main) == 4
    assert len(guide) == 1


def test_the_interval_is_closed_and_holds_for_each_sample():
    v = guided(plus(1), plus(0), 3.0, (0.5, 0.8))(X, T)
    assert torch.equal(v - X, torch.tensor([1.0, 3.0, 3.0])[:, None, None].expand_as(X))
    v = guided(plus(1), plus(0), 3.0, (0.1, 0.5))(X, T)
    assert torch.equal(v - X, torch.tensor([3.0, 3.0, 1.0])[:, None, None].expand_as(X))


def test_the_first_channels_alone_are_guided():
    v = channel_guided(plus(1), plus(0), 6.7, num_channels=1)(X, T)
    torch.testing.assert_close((v - X)[..., 0], torch.full((3, 2), 6.7), atol=1e-5, rtol=0)
    assert torch.equal((v - X)[..., 1], torch.ones(3, 2))
    both = channel_guided(plus(1), plus(0), 6.7, num_channels=2)(X, T)
    assert torch.equal(both, guided(plus(1), plus(0), 6.7)(X, T))


def test_autoguidance_leads_away_from_the_weaker_network():
    v = autoguided(plus(1), plus(0.5), 1.5)(X, T)
    torch.testing.assert_close(v, X + 0.5 + 1.5 * 0.5)


@pytest.mark.parametrize("solver", [euler, heun, rk4, partial(euler_maruyama, draw=lambda i, x: x)])
def test_a_solver_asks_the_guide_in_the_interval_alone_and_no_device_for_the_time(solver):
    grid, low, high = clean_grid(10, alpha=3.0), 0.25, float(clean_grid(10, alpha=3.0)[2])

    def drawn(known):
        guide = []
        velocity = guided(plus(1), plus(0, guide), 3.0, (low, high))
        if known:
            with Unwaited():
                return solver(velocity, X, grid), guide
        return solver(lambda x, t: velocity(x, t), X, grid), guide

    (x, asked), (wanted, counted) = drawn(known=True), drawn(known=False)
    assert torch.equal(x, wanted)
    assert 0 < len(asked) == len(counted)


def test_nothing_is_read_from_a_device_where_a_solver_guides_in_an_interval():
    x = torch.empty(2, 3, 4, device="meta")  # it has no values to give
    guide = []
    pairs = torch.tensor([[0.9, 0.8], [0.6, 0.5], [0.5, 0.4]])
    integrate_transitions(guided(plus(1), plus(0, guide), 3.0, (0.2, 0.6)), x, pairs)
    assert len(guide) == 2


def test_of_guidance_inside_guidance_both_intervals_are_known():
    inner = guided(plus(2), plus(1), 3.0, (0.0, 0.5))
    outer = autoguided(inner, plus(0), 2.0, (0.4, 1.0))
    for t in (0.3, 0.45, 0.7):
        known = velocity_at(outer, t, torch.float32)
        assert not isinstance(known, Blended)
        with Unwaited():
            v = known(X, torch.full((3,), t))
        assert torch.equal(v, outer(X, torch.full((3,), t)))


@pytest.mark.parametrize("interval", [(0.8, 0.1), (0.5, float("nan")), (1.0, 0.5)])
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_an_interval_the_wrong_way_round_is_refused(interval, scale):
    with pytest.raises(ValueError, match=r"interval: expected \(low, high\) with low <= high"):
        guided(plus(1), plus(0), scale, interval)


def test_a_guide_of_another_shape_is_refused():
    other = lambda x, t: torch.cat([x, x], dim=-1)  # noqa: E731
    with pytest.raises(ValueError, match="guide: expected a velocity of shape .* grid and the channels"):
        autoguided(plus(1), other, 1.5)(X, T)
    with pytest.raises(ValueError, match="guide: expected"):
        guided(plus(1), lambda x, t: x[..., :1], 1.5, (0.0, 0.6))(X, T)


def test_a_count_of_channels_that_is_none_is_refused():
    with pytest.raises(ValueError, match="num_channels: expected at least 1"):
        channel_guided(plus(1), plus(0), 3.0, num_channels=0)
    with pytest.raises(ValueError, match="num_channels: expected at most the latents' 2, got 3"):
        channel_guided(plus(1), plus(0), 3.0)(X, T)
