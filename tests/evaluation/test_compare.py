"""A difference is told from noise on the same prompts, what does not compare is refused, flips are shown."""

from __future__ import annotations

import json

import pytest

from tests.evaluation.painter import DEFECTS, ORACLES, Painter, draw, mirrored, plan_of
from unimm.evaluation.bench import BENCHMARKS
from unimm.evaluation.bench.benchmark import Source
from unimm.evaluation.bootstrap import Leaf
from unimm.evaluation.compare import compare
from unimm.evaluation.comparison import table, verdict, write_comparison
from unimm.evaluation.judges.oracle import OracleDetector
from unimm.evaluation.session import Options, kept_prompts, score_folder
from unimm.world.staging import scene_for


def scored(run, paint=scene_for, judges=ORACLES, **plan):
    draw(Painter(paint), plan_of(**plan), run)
    score_folder(BENCHMARKS["world"], run, run, kept_prompts(run), judges, Options({}))
    return run


def half_mirrored(spec, rng):
    """Mirror one scene in two."""
    return mirrored(spec, rng) if rng.random() < 0.5 else scene_for(spec, rng)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder, source = tmp_path_factory.mktemp("pair"), Source(limit=24)
    true = scored(folder / "true", source=source, samples=2)
    return true, scored(folder / "mirrored", mirrored, source=source, samples=2)


def test_a_planted_defect_is_a_difference_where_it_acts_and_nowhere_else(pair):
    found = compare(*pair)
    for task, leaf in found.differences.items():
        hit = task in ("position", "overall", "image_accuracy", "prompt_accuracy")
        assert verdict(leaf) == ("difference" if hit else "noise"), task
    assert found.differences["position"] == Leaf(-1, -1, -1, 8)
    assert found.differences["overall"].mean == pytest.approx(-1 / 6)


def test_the_pictures_that_flipped_are_listed_and_shown(pair, tmp_path):
    found = compare(*pair)
    assert len(found.flips) == 8
    assert {flip.before.task for flip in found.flips} == {"position"}
    assert {(flip.before.score, flip.after.score) for flip in found.flips} == {(1.0, 0.0)}
    page = write_comparison(found, tmp_path / "page.html").read_text()
    assert page.count("data:image/png;base64,") == 16
    assert "8 flipped: 0 to right, 8 to wrong" in page
    assert "16.7" in table(found)


def test_the_same_run_is_noise(pair):
    found = compare(pair[0], pair[0])
    assert {(leaf.low, leaf.high) for leaf in found.differences.values()} == {(0, 0)}
    assert found.flips == ()


def test_pairing_sees_what_two_intervals_apart_would_not(pair, tmp_path):
    source = Source(limit=24)
    half = scored(tmp_path / "half", half_mirrored, source=source, samples=2)
    found = compare(half, pair[1])
    assert found.differences["position"].mean < 0
    assert found.differences["counting"] == Leaf(0, 0, 0, 8)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"source": Source(limit=18)}, "prompts used: 24 and 18"),
        ({"source": Source(limit=24, split="held_out")}, r"prompts \(sha256\)"),
        ({"source": Source(limit=24), "samples": 1}, "pictures per prompt: 2 and 1"),
    ],
)
def test_what_does_not_compare_is_refused_with_the_reason(pair, change, reason, tmp_path):
    other = scored(tmp_path / "other", **{"samples": 2, **change})
    with pytest.raises(ValueError, match=f"do not compare: .*{reason}"):
        compare(pair[0], other)


def test_another_judge_or_another_version_does_not_compare(pair, tmp_path):
    judge = OracleDetector()
    judge.name = "somebody"
    other = scored(
        tmp_path / "other", judges={**ORACLES, "detector": judge}, source=Source(limit=24), samples=2
    )
    with pytest.raises(ValueError, match="metric: 'world@oracle' and 'world@somebody"):
        compare(pair[0], other)
    card = json.loads((other / "card.json").read_text())
    card["metric"], card["scorer"]["version"] = "world@oracle", 99
    (other / "card.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match="version of the scorer: 1 and 99"):
        compare(pair[0], other)


def test_pictures_that_changed_since_the_card_are_refused(pair, tmp_path):
    run = scored(tmp_path / "run", DEFECTS["counting"], source=Source(limit=24), samples=2)
    (run / "images" / "00000" / "samples" / "00001.png").unlink()
    with pytest.raises(ValueError, match="the card is of 48 pictures; 47 are there"):
        compare(pair[0], run)


def test_a_folder_without_a_card_is_named(pair, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"card\.json"):
        compare(pair[0], tmp_path)
