"""Scores follow the published rules, and the best of n decodes nobody but the chosen."""

from __future__ import annotations

import math

import pytest
import torch

from unimm.verify.answer_logits import NEITHER, answer_logits
from unimm.verify.best_of import best_of
from unimm.verify.prompt_confidence import prompt_confidence, self_certainty

YES, NO, OTHER, END = 1, 2, 3, 0


def score(*answers: list[tuple[int, float]]) -> list[float]:
    """Scores of answers given as (token, its logit)."""
    tokens = torch.tensor([[token for token, _ in answer] for answer in answers])
    logits = torch.zeros(*tokens.shape, 5)
    for row, answer in enumerate(answers):
        for place, (token, logit) in enumerate(answer):
            logits[row, place, token] = logit
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


def test_self_certainty_is_the_divergence_from_uniform():
    logits = torch.randn(4, 7, generator=torch.Generator().manual_seed(0))
    p = logits.double().softmax(-1)
    expected = torch.stack([sum((1 / 7) * torch.log((1 / 7) / q) for q in row) for row in p])
    torch.testing.assert_close(self_certainty(logits).double(), expected, rtol=1e-5, atol=1e-6)
    assert abs(float(self_certainty(torch.full((11,), 3.0)))) < 1e-6
    two = torch.tensor([math.log(3.0), 0.0])  # p = 3/4, 1/4
    assert float(self_certainty(two)) == pytest.approx(-0.5 * (math.log(1.5) + math.log(0.5)), abs=1e-6)


def test_prompt_confidence_is_the_mean_over_each_prompt():
    logits = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    certainty = self_certainty(logits)
    found = prompt_confidence(logits, torch.tensor([0, 0, 1, 1, 1]), 2)
    torch.testing.assert_close(found, torch.stack([certainty[:2].mean(), certainty[2:].mean()]))


def test_a_prompt_without_a_token_is_refused():
    with pytest.raises(ValueError, match="at least one token"):
        prompt_confidence(torch.zeros(1, 7), torch.tensor([0]), 2)


def test_the_best_are_kept_in_order_and_only_they_are_decoded():
    seen, quality = [], torch.tensor([[0.1, 0.9, 0.5, 0.9], [4.0, 3.0, 2.0, 1.0]])

    def decode(kept):
        seen.append(kept.clone())
        return "pictures"

    chosen = best_of(lambda n: torch.arange(2 * n).reshape(2, n), lambda x: quality, decode, n=4, keep=2)
    assert chosen.indices.tolist() == [[1, 3], [0, 1]], "equal scores keep the order of drawing"
    assert chosen.candidates.tolist() == [[1, 3], [4, 5]]
    torch.testing.assert_close(chosen.scores, torch.tensor([[0.9, 0.9], [4.0, 3.0]]), check_dtype=False)
    assert chosen.decoded == "pictures"
    assert len(seen) == 1
    assert seen[0].tolist() == [[1, 3], [4, 5]]


def test_without_a_score_all_are_kept_as_drawn():
    chosen = best_of(lambda n: torch.arange(n)[None], None, lambda x: x, n=3, keep=3)
    assert chosen.scores is None
    assert chosen.candidates.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("n", "keep", "scorer", "words"),
    [
        (2, 3, None, "expected 1 to n=2, got 3"),
        (2, 0, None, "got 0"),
        (3, 1, None, "needs a score"),
        (3, 1, lambda x: torch.zeros(3), r"expected \[1 3\]"),
    ],
)
def test_impossible_choices_are_refused(n, keep, scorer, words):
    with pytest.raises(ValueError, match=words):
        best_of(lambda n: torch.zeros(1, n), scorer, lambda x: x, n=n, keep=keep)
