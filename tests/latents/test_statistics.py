"""Statistics: a round trip, and a running count that equals the whole."""

from __future__ import annotations

import pytest
import torch

from unimm.latents import LatentStatistics, Welford


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
