"""Maps from score to probability rise, keep their word, and go through a file unchanged."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from unimm.verify.calibration import (
    FITS,
    Calibration,
    calibrate,
    fit_isotonic,
    fit_logistic,
    log_loss,
)
from unimm.verify.calibrations import Calibrations, read_calibrations, write_calibrations
from unimm.verify.reliability import Bin, calibration_error, reliability


def drawn(n, probability, seed=0):
    """Scores and verdicts whose probability at a score is known."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(scale=3, size=n)
    return scores, (rng.random(n) < probability(scores)).astype(float)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def step(x):
    return np.where(x < 0, 0.1, np.where(x < 2, 0.3, 0.95))


def test_pools_are_the_means_of_neighbours_that_fall():
    # At 1 the added right one joins [0]; 3 and 2 fall, so they pool; at 5 the added wrong one joins.
    found = fit_isotonic(np.array([1.0, 2, 2, 3, 3, 4, 5]), np.array([0.0, 1, 1, 1, 0, 1, 1]))
    assert found.scores == (1, 2, 5)
    assert found.probabilities == pytest.approx((1 / 2, 5 / 7, 5 / 7))
    assert found([0, 1, 1.5, 2, 3, 9]) == pytest.approx(
        [1 / 2, 1 / 2, (1 / 2 + 5 / 7) / 2, 5 / 7, 5 / 7, 5 / 7]
    )


def test_isotonic_is_the_best_of_all_rising_maps():
    """Against every rising map on a grid: none has a smaller squared error on the padded verdicts."""
    right = np.array([0.0, 1, 0, 1])
    found = fit_isotonic(np.arange(4.0), right)(np.arange(4.0))
    padded = [(0, 1.0), *enumerate(right), (3, 0.0)]
    grid = np.linspace(0, 1, 13)

    def error(values):
        return sum((values[place] - y) ** 2 for place, y in padded)

    rising = [(a, b, c, d) for a in grid for b in grid for c in grid for d in grid if a <= b <= c <= d]
    assert error(found) <= min(map(error, rising)) + 1e-12


def test_the_logistic_curve_is_found_again():
    scores, right = drawn(20_000, lambda x: sigmoid(0.8 * x - 0.5))
    found = fit_logistic(scores, right)
    at = np.linspace(-5, 5, 11)
    assert found(at) == pytest.approx(sigmoid(0.8 * at - 0.5), abs=0.02)
    assert (np.diff(found.probabilities) > 0).all()


def test_its_gradient_is_nought_at_platt_s_targets():
    scores, right = np.linspace(-1, 1, 201), (np.linspace(-1, 1, 201) > 0.2).astype(float)
    low, high = np.quantile(scores, (0.005, 0.995))
    found = fit_logistic(scores, right)
    w, r = (1 - right).sum(), right.sum()
    targets = np.where(right == 1, (r + 1) / (r + 2), 1 / (w + 2))
    rest = targets - found(np.clip(scores, low, high))
    assert abs(rest.sum()) < 0.05
    assert abs((rest * scores).sum()) < 0.05
    assert 0 < found.probabilities[0] < found.probabilities[-1] < 1, "perfect separation is no certainty"


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
def test_maps_rise_and_say_neither_never_nor_always(fit):
    rng = np.random.default_rng(1)
    for n in (1, 2, 30):
        scores, right = rng.normal(size=n).round(1), rng.integers(0, 2, n)
        found = fit(scores, right)
        values = found(np.linspace(-1e5, 1e5, 101))
        assert (np.diff(values) >= 0).all()
        assert 0 < values.min() <= values.max() < 1
    falling = fit(np.arange(20.0), (np.arange(20) < 10).astype(float))
    assert np.ptp(falling(np.arange(20.0))) == pytest.approx(0, abs=1e-12), "it never falls"
    assert fit(np.zeros(4), np.array([1, 1, 0, 1])).scores[0] == 0


def test_a_constant_far_off_bends_no_curve():
    scores, right = drawn(4000, lambda x: sigmoid(x))
    scores[:4], right[:4] = -1e4, 1
    assert fit_logistic(scores, right)([0.0, 2.0]) == pytest.approx(sigmoid(np.array([0.0, 2.0])), abs=0.05)


def test_a_score_that_is_no_number_has_no_probability():
    found = fit_isotonic(np.arange(4.0), np.array([0, 0, 1, 1]))([math.nan, math.inf, 2.0])
    assert np.isnan(found).tolist() == [True, True, False]


@pytest.mark.parametrize(("truth", "best"), [(step, "isotonic"), (lambda x: sigmoid(0.6 * x), "logistic")])
def test_the_kind_that_does_better_on_unseen_prompts_is_taken(truth, best):
    scores, right = drawn(1600, truth)
    found = calibrate(scores, right, np.arange(1600) // 8, {"date": "today"})
    losses = found.facts["held_out_log_loss"]
    assert found.kind == best == min(losses, key=losses.get)
    assert found.facts["date"] == "today"
    assert found == FITS[best](scores, right, found.facts)
    fresh_scores, fresh_right = drawn(1600, truth, seed=1)
    bins = reliability(found(fresh_scores), fresh_right)
    assert calibration_error(bins) < 0.05


def test_a_prompt_is_never_on_both_sides_of_a_comparison(monkeypatch):
    groups, seen = np.arange(400) // 8, []

    def spy(scores, right, facts=None):
        seen.append(set(scores))
        return fit_logistic(scores, right, facts)

    monkeypatch.setitem(FITS, "logistic", spy)
    calibrate(groups.astype(float), np.random.default_rng(0).integers(0, 2, 400), groups)
    assert [len(prompts) for prompts in seen[:5]] == [40] * 5, (
        "four fifths of 50 prompts, and no part of others"
    )
    assert set.union(*({*range(50)} - prompts for prompts in seen[:5])) == {*range(50)}
    with pytest.raises(ValueError, match="at least 5 prompts"):
        calibrate(groups.astype(float), np.ones(400), np.zeros(400))


def test_log_loss_is_that_of_the_verdict():
    assert log_loss(np.array([0.5, 0.9]), np.array([1, 0])) == pytest.approx([math.log(2), -math.log(0.1)])
    assert log_loss(np.array([1.0]), np.array([0]))[0] == math.inf


def test_bins_have_equal_mass_and_their_error_is_counted_by_hand():
    p, right = np.array([0.1, 0.2, 0.3, 0.4, 0.8, 0.9]), np.array([0, 0, 1, 0, 1, 1])
    bins = reliability(p[::-1], right[::-1], num_bins=3)
    expected = [(0.15, 0.0, 2), (0.35, 0.5, 2), (0.85, 1.0, 2)]
    assert [(pytest.approx(a), pytest.approx(b), n) for a, b, n in expected] == [
        (b.promised, b.kept, b.n) for b in bins
    ]
    assert calibration_error(bins) == pytest.approx((0.15 + 0.15 + 0.15) / 3)
    assert calibration_error([Bin(0.5, 0.5, 10), Bin(0.9, 0.4, 30)]) == pytest.approx(0.375)


def test_many_different_probabilities_fill_all_bins_alike():
    p = np.random.default_rng(0).random(103)
    assert {b.n for b in reliability(p, p > 0.5, 10)} == {10, 11}
    assert len(reliability(p, p > 0.5, 10)) == 10


def test_no_bin_is_a_crumb():
    p = np.repeat([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [1, 30, 2, 40, 1, 26])
    bins = reliability(p, p > 0.35, 5)
    assert [b.n for b in bins] == [31, 42, 27]
    assert [b.n for b in reliability(p, p > 0.35, 6)] == [1, 30, 2, 40, 1, 26], "few are left as they are"


def test_equal_probabilities_are_never_parted():
    p, right = np.array([0.2] * 7 + [0.6, 0.7, 0.8]), np.array([1, 0, 0, 0, 0, 0, 0, 1, 1, 1])
    bins = reliability(p, right, num_bins=5)
    order = np.random.default_rng(0).permutation(10)
    assert bins[0].n == 7
    assert [(b.kept, b.n) for b in reliability(p[order], right[order], 5)] == [(b.kept, b.n) for b in bins]


@pytest.mark.parametrize(
    ("p", "right", "words"),
    [([], [], "as many"), ([0.5], [1, 0], "as many"), ([1.5], [1], "0 to 1"), ([math.nan], [1], "0 to 1")],
)
def test_what_is_no_probability_is_refused(p, right, words):
    with pytest.raises(ValueError, match=words):
        reliability(np.array(p), np.array(right))


@pytest.mark.parametrize(
    ("scores", "probabilities", "words"),
    [
        ((), (), "one or more"),
        ((1.0,), (0.1, 0.2), "as many"),
        ((2.0, 1.0), (0.1, 0.2), "do not fall"),
        ((1.0, math.inf), (0.1, 0.2), "finite"),
        ((1.0, 2.0), (0.2, 0.1), "do not fall"),
        ((1.0, 2.0), (0.0, 0.1), "between 0 and 1"),
        ((1.0, 2.0), (0.1, math.nan), "between 0 and 1"),
    ],
)
def test_what_is_no_map_is_refused(scores, probabilities, words):
    with pytest.raises(ValueError, match=words):
        Calibration("isotonic", scores, probabilities, 1, {})


@pytest.fixture
def stored(tmp_path):
    maps = {kind: fit(np.arange(9.0), np.arange(9) % 2, {"date": "2026-11-21"}) for kind, fit in FITS.items()}
    write_calibrations(tmp_path / "calibration.json", Calibrations(maps, "abc", {"pools": False}))
    return tmp_path / "calibration.json", maps


def test_a_file_gives_back_what_was_written(stored):
    path, maps = stored
    assert read_calibrations(path) == Calibrations(maps, "abc", {"pools": False})
    assert [entry.name for entry in path.parent.iterdir()] == ["calibration.json"]
    assert read_calibrations(path.with_name("none.json")) == Calibrations()


def spoil(value, *keys, to):
    *above, last = keys
    for key in above:
        value = value[key]
    value[last] = to


@pytest.mark.parametrize(
    ("keys", "to", "words"),
    [
        (("maps",), [], r"calibration\.json: file\.maps"),
        (("more",), 1, "expected the fields maps, weights, conditions"),
        (("maps", "isotonic"), 3, "isotonic: expected the fields"),
        (("maps", "isotonic", "n"), "many", r"isotonic\.n"),
        (("maps", "isotonic", "scores"), ["a"], r"isotonic\.scores: expected numbers"),
        (("maps", "isotonic", "probabilities"), [1.0], "isotonic: calibration: expected as many"),
    ],
)
def test_a_damaged_file_is_refused_by_name(stored, keys, to, words):
    path, _ = stored
    value = json.loads(path.read_text())
    spoil(value, *keys, to=to)
    path.write_text(json.dumps(value))
    with pytest.raises(ValueError, match=words):
        read_calibrations(path)
    path.write_text("{")
    with pytest.raises(ValueError, match="expected JSON"):
        read_calibrations(path)
