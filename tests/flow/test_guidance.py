"""Guidance: formulas, intervals of each sample's own time, and who is asked how often."""

from __future__ import annotations

import pytest
import torch

from unimm.flow import ALWAYS, NEVER, autoguided, channel_guided, guided

X = torch.arange(12.0).reshape(3, 2, 2)
T = torch.tensor([0.1, 0.5, 0.8])


def plus(amount, calls=None):
    def velocity(x, t):
        if calls is not None:
            calls.append(tuple(x.shape))
        return x + amount

    return velocity


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
