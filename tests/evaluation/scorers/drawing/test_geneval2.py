"""GenEval 2: means over parts, prompts, skills and sizes."""

from __future__ import annotations

import numpy as np
import pytest

from unimm.evaluation.scorers import SCORERS
from unimm.evaluation.scorers.drawing.geneval2 import geometric_mean

SCORER = SCORERS["geneval2"]
RECORDS = [
    {"prompt": "a", "atom_count": 3, "skills": ["object", "count", "verb"], "scores": [1, 0.5, 0.25]},
    {"prompt": "b", "atom_count": 3, "skills": ["object", "count"], "scores": [0.5, 0.0]},
    {"prompt": "c", "atom_count": 4, "skills": ["position"], "scores": [0.3]},
]


def score(records, **options):
    return SCORER.score(records, prompts=3, **options)


def test_parts_prompts_skills_and_sizes_have_their_means():
    assert score(RECORDS).metrics() == pytest.approx(
        {
            "soft_tifa_am": 100 * (1.75 / 3 + 0.25 + 0.3) / 3,
            "soft_tifa_gm": 100 * (0.5 + 0 + 0.3) / 3,
            "skill object": 75,
            "skill count": 25,
            "skill verb": 25,
            "skill position": 30,
            "atoms 3": 25,
            "atoms 4": 30,
        }
    )


def test_a_geometric_mean_is_zero_where_a_part_is():
    assert geometric_mean(np.array([0.5, 0.0])) == 0
    assert geometric_mean(np.array([4.0, 1.0, 2.0])) == pytest.approx(2)


def test_prompts_are_what_is_resampled():
    scored = score(RECORDS)
    assert set(scored.groups) == {"a", "b", "c"}
    assert scored.tasks.count("soft_tifa_gm") == 3


def test_whole_prompts_are_scored_too():
    records = [{"prompt": name, "score": x} for name, x in (("a", 0.5), ("b", 1), ("c", 0))]
    assert score(records, protocol="vqascore").metrics() == {"vqascore": 50}


def test_what_failed_is_wrong_and_counted():
    records = [RECORDS[0], RECORDS[1], {**RECORDS[2], "failed": "no picture"}]
    scored = score(records)
    assert scored.failed == 1
    assert scored.metrics()["atoms 4"] == 0
    whole = score([{"prompt": each, "failed": "x"} for each in "abc"], protocol="vqascore")
    assert whole.metrics() == {"vqascore": 0}


def test_what_is_missing_is_refused_or_counted():
    with pytest.raises(ValueError, match="expected 800 prompts, got 3"):
        SCORER.score(RECORDS)
    assert score(RECORDS[:2], allow_missing=True).left_out == {"missing prompts": 1}
    with pytest.raises(ValueError, match="expected 3 prompts, got 0"):
        score([], allow_missing=True)
    with pytest.raises(ValueError, match="expected 2 prompts, got 3"):
        SCORER.score(RECORDS, prompts=2, allow_missing=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompt": "b"}, "several of 'b'"),
        ({"skills": ["object", "count"]}, "a score for each of 2 skills, got 3"),
        ({"skills": ["object", "count", "verbs"]}, "did you mean 'verb'"),
        ({"atom_count": 2}, "atom_count: expected 3 to 10, got 2"),
        ({"scores": [1, 0.5, 1.1]}, "expected probabilities"),
        ({"scores": [1, 0.5, None]}, "expected probabilities"),
        ({"scores": [1, 0.5, float("nan")]}, "expected probabilities"),
        ({"scores": [1, 0.5, "yes"]}, "expected probabilities"),
    ],
)
def test_bad_records_are_named(change, said):
    with pytest.raises(ValueError, match=said):
        score([{**RECORDS[0], **change}, *RECORDS[1:]])
