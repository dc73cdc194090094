"""Statistics: a round trip, and a running count that equals the whole."""

from __future__ import annotations

import pytest
import torch

from unimm.latents import LatentStatistics, Welford
from unimm.latents.statistics import FORMS, Momentum, published_statistics


@pytest.fixture
def latents():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(50, 4, 3, generator=generator) * 3 + torch.randn(4, 3, generator=generator) * 100


def test_restore_undoes_normalise_and_the_default_is_the_identity(latents):
    statistics = LatentStatistics(4, 3)
    assert torch.equal(statistics.normalise(latents), latents)
    statistics.set(latents.mean(0), latents.std(0))
    z = statistics.normalise(latents)
    torch.testing.assert_close(z.mean(0), torch.zeros(4, 3), atol=1e-4, rtol=0)
    torch.testing.assert_close(statistics.restore(z), latents)


def test_statistics_per_channel_serve_all_tokens(latents):
    statistics = LatentStatistics(4, 3)
    statistics.set(torch.arange(3.0), torch.tensor([1.0, 2.0, 4.0]))
    assert torch.equal(statistics.normalise(latents), (latents - torch.arange(3.0)) / torch.tensor([1, 2, 4]))


def test_statistics_are_in_the_checkpoint():
    assert LatentStatistics(4, 3).state_dict().keys() == {"mean", "std"}


@pytest.mark.parametrize(
    ("mean", "std", "said"),
    [
        (torch.zeros(4, 2), torch.ones(4, 3), r"mean: expected \[4 3\] or \[3\], got \(4, 2\)"),
        (torch.zeros(4, 3), torch.zeros(4, 3), "std: expected positive"),
        (torch.full((4, 3), float("nan")), torch.ones(4, 3), "mean: expected finite"),
    ],
)
def test_statistics_that_would_destroy_latents_are_refused(mean, std, said):
    with pytest.raises(ValueError, match=said):
        LatentStatistics(4, 3).set(mean, std)


def test_latents_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="latents: .* with N=4, got 5"):
        LatentStatistics(4, 3).normalise(torch.zeros(1, 5, 3))


def test_batches_of_any_size_add_up_to_the_whole(latents):
    left, right = Welford(4, 3), Welford(4, 3)
    for part in (latents[:1], latents[1:30]):
        left.update(part)
    right.update(latents[30:])
    left.merge(right)
    mean, std = left.result(eps=0)
    torch.testing.assert_close(mean, latents.double().mean(0).float())
    torch.testing.assert_close(std, latents.double().std(0, unbiased=False).float())
    mean, std = left.result(eps=0, per_token=False)
    torch.testing.assert_close(mean, latents.flatten(0, 1).mean(0))
    torch.testing.assert_close(std, latents.flatten(0, 1).std(0, unbiased=False))


def test_too_few_or_broken_latents_give_no_statistics(latents):
    running = Welford(4, 3)
    running.update(latents[:1])
    with pytest.raises(ValueError, match="at least 2 latents, got 1"):
        running.result()
    with pytest.raises(ValueError, match="finite"):
        running.update(latents[:1] / 0)


@pytest.mark.parametrize(
    ("form", "spread", "std"),
    [("variance", 4.0, 4.00001**0.5), ("std_plus_eps", 2.0, 2.00001), ("std", 2, 2)],
)
def test_each_published_form_gives_its_std_and_back(form, spread, std):
    mean, ours = published_statistics(torch.full((3,), 7.0), torch.full((3,), float(spread)), form)
    assert mean.tolist() == [7.0] * 3
    assert ours.tolist() == pytest.approx([std] * 3, rel=1e-7)
    assert FORMS[form][1](ours.double()).tolist() == pytest.approx([spread] * 3, abs=1e-6)


def test_published_maps_become_tokens_in_reading_order():
    maps = torch.arange(12.0).reshape(3, 2, 2)  # channel 0 holds 0 1 / 2 3
    mean, std = published_statistics(maps, maps[None] + 1, "std")
    assert mean[:, 0].tolist() == [0, 1, 2, 3]
    assert torch.equal(std, mean + 1)
    mean, std = published_statistics(maps[None, :, :1, :1], torch.ones(1, 3, 1, 1), "std")
    assert mean.tolist() == [0, 4, 8]
    statistics = LatentStatistics(4, 3)
    statistics.set(mean, std)
    assert statistics.mean.tolist() == [[0, 4, 8]] * 4


def test_an_absent_mean_is_zero_and_an_absent_variance_one():
    variance = torch.rand(3, 2, 2) + 0.5
    mean, std = published_statistics(None, variance)
    assert mean.shape == (4, 3)
    assert not mean.any()
    torch.testing.assert_close(std, (variance + 1e-5).sqrt().flatten(1).mT)
    mean, std = published_statistics(torch.full((3, 2, 2), 2.0), None)
    assert (mean == 2).all()
    assert std.unique().tolist() == pytest.approx([1.00001**0.5])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((None, None), "got neither"),
        ((None, torch.ones(4, 3)), r"expected \[C H W\], \[1 C H W\] or \[C\], got shape \(4, 3\)"),
        ((None, torch.ones(3), "var"), "expected one of variance, std_plus_eps, std, got 'var'"),
    ],
)
def test_what_is_no_published_statistic_is_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        published_statistics(*arguments)


def test_the_running_rule_fades_what_came_before_by_its_momentum(latents):
    running = Momentum(4, 3, momentum=0.25)
    for part in latents.split(25):
        running.update(part)
    (first, second), decay = latents.split(25), 0.75
    mean = decay * 0.25 * first.mean(0) + 0.25 * second.mean(0)
    variance = decay**2 + decay * 0.25 * first.var(0, correction=0) + 0.25 * second.var(0, correction=0)
    torch.testing.assert_close(running.result(eps=0)[0], mean)
    torch.testing.assert_close(running.result(eps=0)[1], variance.sqrt())
    whole = Momentum(4, 3, momentum=1)
    whole.update(latents)
    torch.testing.assert_close(whole.variance, latents.var(0, correction=0))


def test_ranks_of_equal_count_merge_into_the_whole(latents):
    ranks = [Momentum(4, 3, momentum=1) for _ in range(2)]
    for rank, part in zip(ranks, latents.split(25), strict=True):
        rank.update(part)
    merged = Momentum.of_ranks(ranks)
    torch.testing.assert_close(merged.mean, latents.mean(0))
    torch.testing.assert_close(merged.variance, latents.var(0, correction=0))


def test_the_running_rule_refuses_what_would_spoil_it(latents):
    with pytest.raises(ValueError, match="finite"):
        Momentum(4, 3).update(latents[:1] / 0)
    with pytest.raises(ValueError, match=r"momentum: expected a number in \(0, 1\], got 0"):
        Momentum(4, 3, momentum=0)
