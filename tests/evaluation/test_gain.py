"""What training brought: planted differences show, equal models gain nothing, and no model is asked twice."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.evaluation.pretend import Pretender, anything
from tests.model.small import small_model
from unimm.evaluation.contenders import open_sides
from unimm.evaluation.gain import flips, gains, main
from unimm.evaluation.paired import as_json
from unimm.evaluation.sides import Drawing, Settings, Side, asked_of, measured
from unimm.model import UniMM
from unimm.model.adapter_files import save_adapter
from unimm.model.adapters import AdapterSettings, add_adapter
from unimm.world.staging import scene_for

SMALL = Settings(limit=12, families=("colors", "counting"))


def test_a_perfect_model_gains_all_that_a_blind_one_lacks(tmp_path):
    sides = {"before": Pretender(anything), "after": Pretender(scene_for)}  # of the same weights, so apart
    before, after = (measured(model, SMALL, tmp_path / name) for name, model in sides.items())
    card = gains(before, after)
    for split in SMALL.splits:
        row = card[f"{split} overall"]
        assert row["after"].mean == 1.0
        assert row["gain"].mean == pytest.approx(1.0 - row["before"].mean)
        assert row["gain"].n == 12
        assert card[f"{split} colors"]["gain"].n == 6
    assert set(card) == {f"{s} {f}" for s in SMALL.splits for f in ("overall", "colors", "counting")}


def test_the_gain_is_paired():
    before = Side({"held_in colors": np.array([True, False, False, True])})
    after = Side({"held_in colors": np.array([True, True, False, True])})
    (row,) = as_json(gains(before, after)).values()
    assert row["gain"]["mean"] == 0.25
    assert 0 <= row["gain"]["low"] <= row["gain"]["high"] <= 1
    assert row["win_rate"]["mean"] == 0.625  # one of four won, three alike


def test_flipped_drawings_stand_before_over_after():
    """One colour stands for a picture; both sides' rows show those whose verdict changed and no other."""
    asked = asked_of(SMALL, "held_in")[:4]
    verdicts = [(True, True), (False, True), (True, False), (False, False)]
    sides = [
        Side(drawings=[
            Drawing(prompt, np.full((8, 8, 3), 60 * i + 20 * s, np.uint8), pair[s])
            for i, (prompt, pair) in enumerate(zip(asked, verdicts, strict=True))
        ])
        for s in (0, 1)
    ]  # fmt: skip
    colours = [colour for _, colour in flips(*sides).getcolors(2**16) if len({*colour}) == 1]
    assert {(60,) * 3, (80,) * 3, (120,) * 3, (140,) * 3} <= {*colours}
    assert not {(0,) * 3, (20,) * 3, (180,) * 3, (200,) * 3} & {*colours}
    assert flips(sides[0], sides[0]) is None


def test_a_model_is_not_asked_twice(tmp_path):
    model = Pretender(scene_for)
    first = measured(model, SMALL, tmp_path)
    drawn = model.drawn
    again = measured(model, SMALL, tmp_path)
    assert model.drawn == drawn > 0
    assert all(np.array_equal(first.right[name], again.right[name]) for name in first.right)


def test_prompts_are_of_the_families_asked_for():
    assert [prompt.spec.family for prompt in asked_of(SMALL, "held_in")] == ["counting", "colors"] * 6


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"families": ()}, "--families: expected one or more"),
        ({"families": ("color",)}, "did you mean 'colors'"),
        ({"splits": ("held",)}, "--splits"),
        ({"limit": 3}, "--limit: expected 6 or more, one per family, got 3"),
        ({"limit": 0}, "expected one of them above 0, got 0 and 0"),
        ({"limit": -1}, "--limit"),
        ({"steps": 0}, "--steps: expected 1 or more, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(values, said):
    with pytest.raises(ValueError, match=said):
        Settings(**values)


def test_a_kind_of_question_that_there_is_not_is_told(tmp_path):
    with pytest.raises(ValueError, match="--kinds: found 0 of 1"):
        measured(Pretender(scene_for), Settings(limit=0, questions=1, kinds=("riddle",)), tmp_path)


def test_an_adapter_is_opened_on_the_other_side(tmp_path):
    small_model().save_pretrained(tmp_path / "base")
    model = UniMM.from_pretrained(tmp_path / "base")
    add_adapter(model, AdapterSettings())
    save_adapter(model, tmp_path / "adapter")
    base, adapter = str(tmp_path / "base"), str(tmp_path / "adapter")
    assert [opened().adapter is not None for opened in open_sides(base, adapter)] == [False, True]
    assert [opened().adapter is not None for opened in open_sides(adapter, adapter)] == [True, True]
    with pytest.raises(FileNotFoundError, match="nowhere"):
        open_sides(base, str(tmp_path / "nowhere"))


def test_the_command_writes_the_card(tmp_path, monkeypatch, capsys):
    from unimm.evaluation import gain

    sides = [lambda: Pretender(num_probes=9), lambda: Pretender(num_probes=9)]
    monkeypatch.setattr(gain, "open_sides", lambda before, after: sides)
    options = ["--limit", "2", "--families", "colors", "--questions", "3", "--out", str(tmp_path / "parts")]
    main(["a", "b", *options, "--json", str(tmp_path / "card.json"), "--sheet", str(tmp_path / "x.png")])
    assert not (tmp_path / "x.png").exists()  # nothing flipped
    said = json.loads((tmp_path / "card.json").read_text())
    assert (said["before"], said["after"], said["settings"]["limit"]) == ("a", "b", 2)
    assert said["card"]["held_in colors"]["after"]["mean"] == 1.0
    assert "held in colors" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match="--json: there is no folder"):
        main(["a", "b", "--json", str(tmp_path / "none" / "card.json")])
