"""A perfect model scores one, a blind one scores what shuffled prompts score, and planted mistakes show."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from tests.evaluation.pretend import Pretender, anything
from unimm.evaluation.bootstrap import Leaf
from unimm.evaluation.store import Store
from unimm.evaluation.world import command, scoring
from unimm.evaluation.world.card import as_json, said, show
from unimm.evaluation.world.pictures import contact_sheet
from unimm.evaluation.world.seeing import probe
from unimm.evaluation.world.settings import CANDIDATES, COUNTS, Settings, fingerprint
from unimm.world import vocabulary as words
from unimm.world.prompts import prompts
from unimm.world.spec import FAMILIES
from unimm.world.staging import scene_for

SMALL = Settings(limit=36)
SPLITS = ("held_in", "held_out")


@pytest.fixture(scope="module")
def perfect(tmp_path_factory):
    out = tmp_path_factory.mktemp("perfect")
    return command.measure(Pretender(num_probes=SMALL.num_scenes), SMALL, out), out


def test_a_model_that_draws_the_truth_scores_one_everywhere(perfect):
    card, _ = perfect
    for split in SPLITS:
        assert [card[split][name].mean for name in ("overall", *FAMILIES)] == [1.0] * 7
        assert card["shuffled"][split]["overall"].high < 0.5
    for name in ("ceiling", "vqa", "claims", "caption", "self_agreement"):
        assert card[name].mean == 1.0, name
    assert card["psnr"].low > 50
    assert card["gain_best_of_8"]["answer_logits"] == Leaf(0, 0, 0, 12)


def test_every_n_is_what_was_promised(perfect):
    card, _ = perfect
    assert card["held_in"]["overall"].n == card["ceiling"].n == card["self_agreement"].n == 36
    assert {card["held_out"][family].n for family in FAMILIES} == {6}
    assert {leaf.n for curve in card["best_of"].values() for leaf in curve.values()} == {12}
    assert card["vqa"].n == sum(leaf.n for leaf in card["vqa_by_kind"].values()) == 72
    full = Settings()
    assert (full.per_family, full.num_best_of, full.limit) == (100, 200, 600)
    assert (CANDIDATES, COUNTS) == (16, (1, 2, 4, 8, 16))
    chosen = Counter(prompt.spec.family for prompt in prompts("held_in", 100)[: full.num_best_of])
    assert max(chosen.values()) - min(chosen.values()) <= 1


def test_the_json_has_the_promised_rows_and_nothing_but_leaves_below(perfect):
    card = json.loads(json.dumps(as_json(perfect[0])))
    promised = (
        "held_in",
        "held_out",
        "ceiling",
        "best_of",
        "gain_best_of_8",
        "vqa",
        "caption",
        "self_agreement",
        "psnr",
    )
    assert tuple(card)[: len(promised)] == promised
    assert set(card["held_in"]) == set(card["held_out"]) == {"overall", *FAMILIES}
    assert set(card["best_of"]) == set(card["gain_best_of_8"]) == {"answer_logits", "prompt_confidence"}
    assert set(card["best_of"]["answer_logits"]) == {"1", "2", "4", "8", "16"}

    def check(node):
        if "mean" in node:
            assert set(node) == {"mean", "low", "high", "n"}
            assert node["low"] <= node["mean"] <= node["high"]
        else:
            for below in node.values():
                check(below)

    check(card)


def test_sheets_records_and_the_table_are_there(perfect):
    card, out = perfect
    for split in SPLITS:
        for family in FAMILIES:
            with Image.open(out / f"{split}_{family}.png") as sheet:
                assert sheet.width > 900
        lines = [json.loads(line) for line in (out / f"{split}.jsonl").read_text().splitlines()]
        assert len(lines) == 36
        assert all(line["right"] and line["model_says"] == "Yes." and line["things"] for line in lines)
    console = Console(record=True, width=160, file=StringIO())
    show(card, console)
    text = console.export_text()
    for row in (
        "single object",
        "overall",
        "ceiling",
        "captions",
        "self-agreement",
        "answer_logits",
        "oracle",
        "best of 16",
    ):
        assert row in text
    assert "100.0 [100.0, 100.0]" in text


@pytest.mark.parametrize("split", SPLITS)
def test_a_model_that_ignores_the_prompt_scores_like_shuffled_prompts(split, tmp_path):
    settings, store = Settings(limit=90), Store(tmp_path / "parts")
    scored = command._measure_split(Pretender(anything), split, settings, store, tmp_path, {})
    score, chance = scored[split]["overall"], scored["shuffled"][split]["overall"]
    assert score.mean < 0.15
    assert max(score.low, chance.low) <= min(score.high, chance.high)


def now_and_then(spec, rng):
    """Obey one prompt in three."""
    return scene_for(spec, rng) if rng.random() < 1 / 3 else anything(spec, rng)


def test_a_good_verifier_gains_and_a_random_one_does_not(tmp_path):
    scored = command._measure_best_of(Pretender(now_and_then), Settings(limit=60), Store(tmp_path / "parts"))
    good, noise = (scored["best_of"][name] for name in ("answer_logits", "prompt_confidence"))
    means = [good[str(n)].mean for n in COUNTS]
    assert means == sorted(means)
    assert means[0] == pytest.approx(1 / 3, abs=0.1)
    assert means[-1] > 0.95
    assert [scored["oracle"][str(n)].mean for n in COUNTS] == means
    assert scored["gain_best_of_8"]["answer_logits"].low > 0.3
    assert scored["gain_best_of_8"]["prompt_confidence"].low <= 0.1
    assert noise["1"].mean == good["1"].mean


def miscoloured(spec, rng):
    """The right shapes in the right places, in a colour that was not asked for."""
    scene = scene_for(spec, rng)
    names = list(words.COLOURS)
    turned = [replace(t, colour=names[(names.index(t.colour) + 1) % 10]) for t in scene.things]
    return replace(scene, things=tuple(turned))


def mirrored(spec, rng):
    scene = scene_for(spec, rng)
    return replace(scene, things=tuple(replace(t, x=1 - t.x, y=1 - t.y) for t in scene.things))


def lonely(spec, rng):
    return replace(scene := scene_for(spec, rng), things=scene.things[:1])


@pytest.mark.parametrize(
    ("paint", "wrong"),
    [
        (miscoloured, {"colors", "color_attr"}),
        (mirrored, {"position"}),
        (lonely, {"two_object", "counting", "position", "color_attr"}),
    ],
)
def test_a_planted_mistake_lowers_its_families_and_no_other(paint, wrong, tmp_path):
    model, store = Pretender(paint), Store(tmp_path / "parts")
    scored = command._measure_split(model, "held_in", SMALL, store, tmp_path, {})
    for family in FAMILIES:
        assert scored["held_in"][family].mean == (0 if family in wrong else 1), family
    assert scored["self_agreement"].mean == 1


def test_a_model_that_flatters_itself_does_not_agree(tmp_path):
    model, store = Pretender(miscoloured, honest=False), Store(tmp_path / "parts")
    scored = command._measure_split(model, "held_in", SMALL, store, tmp_path, {})
    assert scored["self_agreement"].mean == 0


def test_a_run_that_was_cut_off_goes_on_where_it_stopped(tmp_path):
    settings, once = Settings(limit=6), 2 * 6 + 2 * CANDIDATES
    model = Pretender(num_probes=settings.num_scenes)
    model.patience = 6
    with pytest.raises(KeyboardInterrupt):
        command.measure(model, settings, tmp_path / "cut")
    model.patience = None
    card = command.measure(model, settings, tmp_path / "cut")
    assert model.drawn == once
    assert command.measure(model, settings, tmp_path / "cut") == card
    assert model.drawn == once
    assert command.measure(model, settings, tmp_path / "cut", fresh=True) == card
    assert model.drawn == 2 * once


def test_parts_of_other_settings_or_weights_are_never_used():
    model = Pretender()
    names = {
        fingerprint(model, s)
        for s in (SMALL, replace(SMALL, steps=10), replace(SMALL, seed=1), replace(SMALL, guidance=2.0))
    }
    changed = Pretender()
    changed.state_dict = lambda: {k: v + 1e-3 for k, v in Pretender.state_dict(changed).items()}
    assert len(names | {fingerprint(changed, SMALL)}) == 5


def test_no_two_pictures_are_drawn_from_one_seed():
    used = [
        Settings(seed=seed).first_seed(split, index) + candidate
        for seed in (0, 1)
        for split in ("held_in", "held_out", "candidates")
        for index in (0, 1, 599)
        for candidate in (0, CANDIDATES - 1)
    ]
    assert len(set(used)) == len(used)


def test_a_damaged_part_is_named(tmp_path):
    store = Store(tmp_path)
    store.keep("a", lambda: {"x": np.arange(3)})
    path = tmp_path / "a.npz"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"a\.npz: damaged"):
        store.keep("a", lambda: {"x": np.arange(3)})


def test_best_of_is_counted_by_hand():
    right = np.array([[1, 0, 0, 1], [0, 0, 0, 1]], bool)
    scores = np.array([[0.1, 0.9, 0.5, 0.7], [0.4, 0.3, 0.2, 0.2]])
    assert scoring.best_of(right, scores, 1).tolist() == [0.5, 0.25]
    assert scoring.best_of(right, scores, 2).tolist() == [
        0.5,
        0.0,
    ]  # blocks (0, 1) and (2, 3); equal scores: first
    assert scoring.best_of(right, scores, 4).tolist() == [0.0, 0.0]


def test_shuffled_prompts_are_of_the_same_family_and_ask_for_something_else():
    for split in SPLITS:
        asked = prompts(split, 20)
        for own, other in zip(asked, scoring.shuffled(asked), strict=True):
            assert own.spec.family == other.spec.family
            assert own.spec != other.spec


def test_answers_are_compared_without_case_and_full_stop():
    same = scoring.same_answer(["Red.", " two ", "left of", "A", ""], ["red", "2", "left of", "a", "no"])
    assert same.tolist() == [True, False, True, True, False]


def test_probes_repeat_and_differ():
    assert probe(0, 5) == probe(0, 5)
    assert len({probe(0, i).scene for i in range(20)}) == 20


def test_a_contact_sheet_marks_right_and_wrong():
    asked = prompts("held_in", 2)
    pictures = np.full((12, 80, 80, 3), 200, np.uint8)
    good, bad = (
        np.asarray(contact_sheet(asked, pictures, [verdict] * 12)).astype(int) for verdict in (True, False)
    )
    assert ((good[..., 1] - good[..., 0]) > 60).sum() > 1000 > ((bad[..., 1] - bad[..., 0]) > 60).sum()


def test_a_leaf_is_told_in_its_unit():
    assert said(Leaf(0.5, 0.25, 0.75, 8)) == "50.0 [25.0, 75.0]"
    assert said(Leaf(28.123, 27.9, 28.4, 8), "dB") == "28.12 [27.90, 28.40]"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--limit", "5"], "--limit: expected at least 6"),
        (["--limit", "many"], "--limit"),
        (["--steps", "0"], "--steps: expected at least 1"),
        (["--seed", "-1"], "--seed: expected 0"),
        (["--guidance", "nan"], "--guidance: expected"),
        (["--speed", "9"], "--speed"),
        (["--model", "tinny"], "did you mean 'tiny'"),
    ],
)
def test_a_bad_option_is_refused_by_name(arguments, expected):
    with pytest.raises(ValueError, match=expected):
        command.main(arguments)


def test_a_missing_folder_for_the_json_is_told_before_anything_is_drawn(tmp_path):
    with pytest.raises(FileNotFoundError, match="--json"):
        command.main(["--json", str(tmp_path / "no" / "scores.json")])
