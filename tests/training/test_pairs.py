"""Pairs and prompts, read and made; and who judges."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from tests.model.small import small_model
from unimm.config import load
from unimm.latents.pixels import load_image
from unimm.training import pairs as making
from unimm.training.pairs import MakePairs, made_pairs, read_pairs
from unimm.training.prompting import PromptData, conditions_under, drawing_rows, read_prompts
from unimm.training.rewards import on_images, scene_reader, scores_of
from unimm.world.prompts import prompts
from unimm.world.render import render
from unimm.world.spec import FAMILIES
from unimm.world.staging import scene_for

MAKE = MakePairs(20, PromptData(families=("colors",)), candidates=4, pairs_per_prompt=2, steps=2)


def brightness(drawn, prompts, metadata):
    return drawn.flatten(1).mean(1)


def written(folder, *rows):
    path = folder / "pairs.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


@pytest.fixture
def pictures(tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (12, 12), "red").save(tmp_path / name)
    return tmp_path


def test_pairs_are_read_beside_their_file(pictures):
    (pair,) = read_pairs(
        written(pictures, {"prompt": "p", "chosen": "a.png", "rejected": "b.png", "more": 1})
    )
    assert (pair.prompt, pair.chosen, pair.rejected) == ("p", pictures / "a.png", pictures / "b.png")


@pytest.mark.parametrize(
    ("row", "error", "said"),
    [
        (
            {"prompt": "p", "chosen": "a.png"},
            ValueError,
            r"pairs.jsonl, line 1: expected texts .* got {.*a\.png",
        ),
        ({"prompt": 3, "chosen": "a.png", "rejected": "b.png"}, ValueError, 'got {"prompt": 3,'),
        (
            {"prompt": "p", "chosen": "a.png", "rejected": "./a.png"},
            ValueError,
            "expected two pictures, got 'a.png'",
        ),
        (
            {"prompt": "p", "chosen": "a.png", "rejected": "c.png"},
            FileNotFoundError,
            r"pairs\.jsonl, line 1: no file at .*c\.png; and 0 more of 2 pictures cannot be used",
        ),
    ],
)
def test_pairs_that_are_none_are_refused_by_line(pictures, row, error, said):
    with pytest.raises(error, match=said):
        read_pairs(written(pictures, row))


def test_pictures_that_cannot_be_used_are_told_before_training_by_line_and_number(pictures):
    rows = [
        {"prompt": "p", "chosen": "a.png", "rejected": name} for name in ("b.png", "text.png", "none.png")
    ]
    rows += [{"prompt": "q", "chosen": "text.png", "rejected": "moves.gif"}]  # told once already
    (pictures / "text.png").write_text("no picture")
    frames = [Image.new("L", (4, 4), shade) for shade in (0, 255)]
    frames[0].save(pictures / "moves.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(
        ValueError, match=r"line 2: .*text\.png: not a picture .* 2 more of 5 pictures cannot"
    ):
        read_pairs(written(pictures, *rows))
    with pytest.raises(FileNotFoundError, match=r"line 1: no file at .*none\.png; and 0 more of 2 pictures"):
        read_pairs(written(pictures, rows[2]))
    with pytest.raises(ValueError, match=r"line 1: .*moves\.gif: expected one picture, got 2 frames"):
        read_pairs(written(pictures, {**rows[0], "rejected": "moves.gif"}))


def test_headers_alone_are_read_and_of_many_a_bar_is_shown(pictures, monkeypatch, capsys):
    """The pixels of a picture that is cut short are looked for when its batch comes."""
    (pictures / "b.png").write_bytes((pictures / "b.png").read_bytes()[:50])
    path = written(pictures, {"prompt": "p", "chosen": "a.png", "rejected": "b.png"})
    assert len(read_pairs(path)) == 1
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(making, "_MANY", 2)
    read_pairs(path)
    assert "checking pictures" in capsys.readouterr().out
    monkeypatch.setenv("RANK", "1")
    read_pairs(path)
    assert capsys.readouterr().out == ""


def test_no_file_no_lines_and_no_json_are_refused(pictures):
    with pytest.raises(FileNotFoundError, match="expected a file at"):
        read_pairs(pictures / "other.jsonl")
    with pytest.raises(ValueError, match="one pair or more, got none"):
        read_pairs(written(pictures))
    (pictures / "pairs.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"pairs\.jsonl: expected text in UTF-8"):
        read_pairs(pictures / "pairs.jsonl")
    (pictures / "pairs.jsonl").write_text("[1]")
    with pytest.raises(ValueError, match="pairs.jsonl, line 1: expected a JSON object, got list"):
        read_pairs(pictures / "pairs.jsonl")


def test_made_pairs_are_the_best_and_the_worst_of_a_prompt(tmp_path):
    pairs = made_pairs(small_model(), MAKE, tmp_path, brightness)
    lines = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert len(pairs) == len(lines) == 40
    assert all(line["scores"][0] > line["scores"][1] for line in lines)
    for first, second in zip(lines[::2], lines[1::2], strict=True):  # best with worst, then the two between
        assert first["prompt"] == second["prompt"]
        assert first["scores"][0] >= second["scores"][0] > second["scores"][1] >= first["scores"][1]
    assert {load_image(pair.chosen).size for pair in pairs} == {(12, 12)}


def test_making_goes_on_where_it_was_cut_off(tmp_path, monkeypatch):
    made_pairs(small_model(), MAKE, tmp_path / "whole", brightness)
    calls, make = [], making._make

    def fails_later(*arguments):
        calls.append(arguments[4])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return make(*arguments)

    monkeypatch.setattr(making, "_make", fails_later)
    with pytest.raises(KeyboardInterrupt):
        made_pairs(small_model(), MAKE, tmp_path / "parts", brightness)
    made_pairs(small_model(), MAKE, tmp_path / "parts", brightness)
    assert calls == [0, 16, 16]
    files = [(tmp_path / name / "pairs.jsonl").read_bytes() for name in ("whole", "parts")]
    assert files[0] == files[1]


def test_pairs_made_otherwise_are_refused(tmp_path):
    made_pairs(small_model(), MAKE, tmp_path, brightness)
    with pytest.raises(ValueError, match="made otherwise: num_prompts 20 there, 4 asked for"):
        made_pairs(
            small_model(), MakePairs(4, MAKE.prompts, pairs_per_prompt=2, steps=2), tmp_path, brightness
        )
    with pytest.raises(ValueError, match="made otherwise: weights"):
        made_pairs(small_model(seed=1), MAKE, tmp_path, brightness)


def test_a_judge_that_tells_nothing_apart_gives_no_pairs(tmp_path):
    with pytest.raises(ValueError, match="none of 20 prompts"):
        made_pairs(small_model(), MAKE, tmp_path, lambda drawn, prompts, facts: [1.0] * len(prompts))


def test_too_few_candidates_are_refused():
    with pytest.raises(ValueError, match="candidates: expected 4 or more for pairs_per_prompt 2, got 3"):
        MakePairs(4, candidates=3, pairs_per_prompt=2)
    with pytest.raises(ValueError, match="margin: expected 0 or more, got nan"):
        MakePairs(4, margin=math.nan)


# Judges.


def test_the_reader_rewards_what_obeys():
    asked = [prompt for prompt in prompts("held_in", 3) if prompt.spec.word is None]
    rng = np.random.default_rng(0)
    true = [Image.fromarray(render(scene_for(prompt.spec, rng), 80)) for prompt in asked]
    facts = [{"spec": prompt.spec} for prompt in asked]
    texts = [prompt.text for prompt in asked]
    assert np.mean(scene_reader(true, texts, facts)) > 0.95
    empty = [Image.fromarray(np.full((80, 80, 3), 200, np.uint8))] * len(asked)
    assert scene_reader(empty, texts, facts) == [0.0] * len(asked)
    with pytest.raises(ValueError, match="whose metadata has a spec"):
        scene_reader(true[:1], texts[:1], [{}])


def test_a_judge_gets_latents_or_pictures():
    model, latents, seen = small_model(), torch.randn(2, 9, 8), []

    def judge(drawn, prompts, metadata):
        seen.append(drawn)
        return [1, 2]

    assert scores_of(judge, model, latents, ["a", "b"], [{}, {}]).tolist() == [1.0, 2.0]
    scores_of(on_images(judge), model, latents, ["a", "b"], [{}, {}])
    assert seen[0] is latents
    assert [picture.size for picture in seen[1]] == [(12, 12), (12, 12)]


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ([1.0], r"expected 2 scores, one per drawing, got shape \[1\]"),
        ([[1.0], [2.0]], r"got shape \[2, 1\]"),
        ([1.0, math.inf], "expected finite scores, got inf for 'b' and 0 more of 2"),
    ],
)
def test_scores_that_do_not_fit_are_refused(scores, said):
    with pytest.raises(ValueError, match=f"reward <lambda>: .*{said}"):
        scores_of(lambda *given: scores, small_model(), torch.zeros(2, 9, 8), ["a", "b"], [{}, {}])


# Prompts.


def test_prompts_are_a_pure_function_of_the_position():
    stream = PromptData(families=("colors", "counting"), seed=1).open()
    assert stream.at(5, 3) == stream.at(0, 10)[5:8]
    assert [asked.metadata["spec"].family for asked in stream.at(0, 4)] == ["colors", "counting"] * 2
    assert stream.at(0, 5) != PromptData(families=("colors", "counting"), seed=2).open().at(0, 5)


def test_prompts_come_from_a_file(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "a", "tag": 1}\n\n{"prompt": "b"}\n')
    assert [(asked.text, dict(asked.metadata)) for asked in read_prompts(path)] == [
        ("a", {"tag": 1}),
        ("b", {}),
    ]
    assert {asked.text for asked in PromptData(file=str(path)).open().at(0, 2)} == {"a", "b"}
    path.write_text('{"text": "a"}')
    with pytest.raises(ValueError, match="prompts.jsonl, line 1: expected a text under 'prompt', got None"):
        read_prompts(path)


def test_families_beside_a_file_are_refused(tmp_path):
    with pytest.raises(
        ValueError,
        match="families: expected null beside a file, .* got colors beside p.jsonl; set families=null",
    ):
        PromptData(families=("colors",), file="p.jsonl")
    with pytest.raises(ValueError, match="families: expected one or more, or null for all, got none"):
        PromptData(families=())
    path = tmp_path / "data.yaml"
    path.write_text("families: [colors]\n")
    assert load(PromptData, path, ["families=null", "file=p.jsonl"]) == PromptData(file="p.jsonl")
    assert load(PromptData, path).families == ("colors",)


def test_without_families_all_are_asked_for():
    found = [asked.metadata["spec"].family for asked in PromptData().open().at(0, 12)]
    assert found == [*FAMILIES, *FAMILIES]


def test_rows_give_the_conditions_that_drawing_uses():
    from unimm.model.drawing import conditions_of

    model, texts = small_model(), ["two red circles", "a star"]
    found = conditions_under(model, drawing_rows(model, texts))
    assert torch.allclose(found, conditions_of(model, texts), atol=1e-5)
    assert found.requires_grad
