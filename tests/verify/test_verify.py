"""Scores follow the published rules."""

from __future__ import annotations

import math

import pytest
import torch

from unimm.verify.answer_logits import NEITHER, answer_logits
from unimm.verify.p_yes import p_yes
from unimm.verify.positions import log_likelihood, row_means, self_certainty

YES, NO, OTHER, END = 1, 2, 3, 0


def score(*answers: list[tuple[int, float]]) -> list[float]:
    """Scores of answers given as (token, its logit)."""
    tokens = torch.tensor([[token for token, _ in answer] for answer in answers])
    logits = torch.tensor([[logit for _, logit in answer] for answer in answers])
    return answer_logits(tokens, logits, yes=[YES, 4], no=[NO]).tolist()


def test_yes_comes_first_by_larger_logit_then_no_by_smaller():
    scores = score(
        [(YES, 9.0)], [(YES, 2.0)], [(YES, -3.0)], [(NO, -3.0)], [(NO, 2.0)], [(NO, 9.0)], [(OTHER, 50.0)]
    )
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 7
    assert [s > 0 for s in scores] == [True] * 3 + [False] * 4
    assert scores[-1] == NEITHER


def test_the_order_of_logits_survives_everywhere():
    logits = torch.linspace(-60, 60, 4001).tolist()
    yes = [score([(YES, logit)])[0] for logit in logits[::100]]
    near_twenty = score(*[[(YES, 20 + k * 1e-5)] for k in range(-5, 6)])
    assert yes == sorted(set(yes))
    assert near_twenty == sorted(set(near_twenty))


def test_yes_and_no_together_are_a_yes():
    assert score([(NO, 9.0), (YES, 1.0)]) == score([(OTHER, 9.0), (YES, 1.0)])


def test_the_last_of_several_counts():
    assert score([(YES, 5.0), (4, 1.0), (END, 7.0)]) == score([(4, 1.0), (OTHER, 5.0), (END, 7.0)])


def test_p_yes_is_a_share_of_probability():
    logits = torch.log(torch.tensor([[0.1, 0.2, 0.3, 0.3, 0.1], [0.7, 0.1, 0.1, 0.1, 0.0]]) + 1e-30)
    found = p_yes(logits + 5, yes=[YES, 4], no=[NO])
    torch.testing.assert_close(found, torch.tensor([0.3 / 0.6, 0.1 / 0.2]).double())
    extreme = torch.tensor([[0.0, 200.0, -200.0, 0, 0], [0.0, -2000.0, 2000.0, 0, 0]])
    assert p_yes(extreme, [YES], [NO]).tolist() == [1.0, 0.0]
    with pytest.raises(ValueError, match="got 1 and 0"):
        p_yes(logits, [YES], [])


def test_self_certainty_is_the_divergence_from_uniform():
    logits = torch.randn(4, 7, generator=torch.Generator().manual_seed(0))
    p = logits.double().softmax(-1)
    expected = torch.stack([sum((1 / 7) * torch.log((1 / 7) / q) for q in row) for row in p])
    torch.testing.assert_close(self_certainty(logits).double(), expected, rtol=1e-5, atol=1e-6)
    assert abs(float(self_certainty(torch.full((11,), 3.0)))) < 1e-6
    two = torch.tensor([math.log(3.0), 0.0])  # p = 3/4, 1/4
    assert float(self_certainty(two)) == pytest.approx(-0.5 * (math.log(1.5) + math.log(0.5)), abs=1e-6)


def test_log_likelihood_is_minus_cross_entropy():
    logits, tokens = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)), torch.arange(5)
    expected = -torch.nn.functional.cross_entropy(logits, tokens, reduction="none")
    torch.testing.assert_close(log_likelihood(logits, tokens), expected)


def test_means_are_over_each_row_s_own_positions():
    found = row_means(torch.tensor([1.0, 3.0, 5.0, 5.0, 8.0]), torch.tensor([0, 0, 1, 1, 1]), 2)
    assert found.tolist() == [2.0, 6.0]
    with pytest.raises(ValueError, match="at least one position"):
        row_means(torch.zeros(1), torch.tensor([0]), 2)
