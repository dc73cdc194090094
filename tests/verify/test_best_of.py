"""The best of n: everybody is seen, the worst are let go, and nobody but the chosen is decoded."""

from __future__ import annotations

import math

import pytest
import torch

from unimm.verify.best_of import best_of, gap_reached, level_reached

QUALITY = torch.tensor([[0.1, 0.9, 0.5, 0.9, 0.2, 0.3], [4.0, 3.0, 2.0, 1.0, 9.0, 0.0]])


def draw(places):
    """Candidates that know where they were drawn."""
    return torch.tensor([[10.0 * prompt + index] for prompt, index in places])


def look(candidates, places):
    assert candidates[:, 0].tolist() == [10 * prompt + index for prompt, index in places]
    return torch.stack([QUALITY[place] for place in places])


def choose(score=look, n=6, keep=2, **options):
    return best_of(draw, score, lambda kept: kept, 2, n, keep, **options)


def test_the_best_are_kept_in_order_and_only_they_are_decoded():
    seen = []
    chosen = best_of(draw, look, lambda kept: seen.append(kept.clone()) or "pictures", 2, 4, 2)
    assert chosen.indices.tolist() == [[1, 3], [0, 1]], "equal scores keep the order of drawing"
    assert chosen.candidates[..., 0].tolist() == [[1, 3], [10, 11]]
    torch.testing.assert_close(chosen.scores, torch.tensor([[0.9, 0.9], [4.0, 3.0]]), check_dtype=False)
    assert chosen.decoded == "pictures"
    assert len(seen) == 1
    assert seen[0][..., 0].tolist() == [[1, 3], [10, 11]]
    assert chosen.drawn == (4, 4)
    assert chosen.failed == ()


@pytest.mark.parametrize("together", [1, 2, 5, 12])
def test_nothing_depends_on_how_many_are_drawn_together(together):
    sizes = []
    chosen = best_of(lambda p: sizes.append(len(p)) or draw(p), look, lambda k: k, 2, 6, 3, together=together)
    assert max(sizes) == together
    assert sum(sizes) == 12
    assert chosen.indices.tolist() == [[1, 3, 2], [4, 0, 1]]
    assert chosen.decoded[..., 0].tolist() == [[1, 3, 2], [14, 10, 11]]


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_ranks_last_and_is_reported(broken):
    def score(candidates, places):
        found = look(candidates, places)
        found[[place == (0, 1) for place in places]] = broken
        return found

    chosen = choose(score)
    assert chosen.indices.tolist() == [[3, 2], [4, 0]]
    assert chosen.failed == ((0, 1),)
    assert chosen.scores.isfinite().all()


def test_where_no_score_is_a_number_the_first_drawn_are_kept():
    chosen = choose(lambda candidates, places: look(candidates, places) + torch.tensor(math.nan))
    assert chosen.indices.tolist() == [[0, 1], [0, 1]]
    assert chosen.scores.isnan().all()
    assert chosen.failed == tuple((p, i) for p in range(2) for i in range(6))


def test_an_early_stop_draws_in_rounds_and_leaves_finished_prompts_alone():
    rounds = []

    def drawn(places):
        rounds.append([p for p, _ in places])
        return draw(places)

    chosen = best_of(drawn, look, lambda k: k, 2, 6, 1, enough=gap_reached(0.7, 1))
    # after 2 of each: gaps 0.8 and 1; both are enough
    assert rounds == [[0, 0, 1, 1]]
    assert chosen.drawn == (2, 2)
    rounds.clear()
    chosen = best_of(drawn, look, lambda k: k, 2, 6, 1, enough=level_reached(5.0, 1))
    assert rounds == [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]], "as many again as were drawn before"
    assert chosen.indices.tolist() == [[1], [4]]
    rounds.clear()
    chosen = best_of(drawn, look, lambda k: k, 2, 6, 1, enough=level_reached(3.5, 1))
    assert chosen.drawn == (6, 2)
    assert chosen.indices.tolist() == [[1], [0]]


def test_what_was_drawn_before_an_early_stop_is_the_beginning_of_what_would_have_been():
    early, all_of_two = choose(keep=1, enough=level_reached(0.8, 1)), choose(n=2, keep=1)
    assert early.indices.tolist() == all_of_two.indices.tolist()


def test_gaps_and_levels_look_at_the_last_that_is_kept():
    assert not gap_reached(1.0, 2)([5.0, 4.0])
    assert not gap_reached(1.0, 2)([9.0, 4.0, 3.5])
    assert gap_reached(1.0, 2)([9.0, 4.0, 3.0])
    assert not level_reached(4.0, 2)([9.0])
    assert not level_reached(4.0, 2)([9.0, 3.0])
    assert level_reached(4.0, 2)([9.0, 4.0])


def test_failed_candidates_do_not_end_a_drawing_early():
    chosen = choose(
        lambda candidates, places: torch.full((len(places),), math.nan), keep=1, enough=level_reached(-9, 1)
    )
    assert chosen.drawn == (6, 6)


def test_without_a_score_all_are_kept_as_drawn():
    chosen = choose(None, n=3, keep=3)
    assert chosen.scores is None
    assert chosen.candidates[..., 0].tolist() == [[0, 1, 2], [10, 11, 12]]


@pytest.mark.parametrize(
    ("n", "keep", "scorer", "words"),
    [
        (2, 3, None, "expected 1 to n=2, got 3"),
        (2, 0, None, "got 0"),
        (3, 1, None, "needs a score"),
        (3, 1, lambda x, places: torch.zeros(3), r"expected \[6\], got \[3\]"),
    ],
)
def test_impossible_choices_are_refused(n, keep, scorer, words):
    with pytest.raises(ValueError, match=words):
        choose(scorer, n=n, keep=keep)
