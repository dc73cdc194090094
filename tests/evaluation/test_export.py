"""Exported pictures are the run's own, under the names that official scripts look for."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.evaluation.painter import ORACLES, Painter, draw, pictures_of, plan_of
from unimm.evaluation.bench import BENCHMARKS
from unimm.evaluation.bench.benchmark import Source
from unimm.evaluation.export import export
from unimm.evaluation.session import Options, kept_prompts, score_folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    draw(Painter(), plan_of(samples=4, source=Source(limit=6)), folder)
    return folder


def test_a_geneval_folder_is_what_the_official_script_reads(run, tmp_path):
    out = tmp_path / "out"
    assert export(run, "geneval", out) == 24
    for index, folder in enumerate(sorted(out.iterdir())):
        assert folder.name.isdigit()
        line = json.loads((folder / "metadata.jsonl").read_text())
        assert {"tag", "include", "prompt"} <= line.keys()
        samples = sorted(path.name for path in (folder / "samples").iterdir())
        assert all(re.fullmatch(r"\d+\.png", name) for name in samples)
        assert len(samples) == 4
        ours = run / "images" / f"{index:05d}" / "samples" / "00002.png"
        assert (folder / "samples" / "00002.png").read_bytes() == ours.read_bytes()


def test_a_folder_of_grids_holds_nothing_but_grids(run, tmp_path):
    assert export(run, "dpg", tmp_path / "out") == 24
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"{index:05d}.png" for index in range(6)]


def test_what_is_exported_is_read_back_and_scores_the_same(run, tmp_path):
    export(run, "geneval", tmp_path / "out")
    prompts = kept_prompts(run)
    card = score_folder(
        BENCHMARKS["world"], tmp_path / "out", tmp_path / "card", prompts, ORACLES, Options({}, samples=4)
    )
    assert card["scores"]["overall"]["mean"] == 1
    assert card["n"] == 24


def test_single_pictures_are_named_after_their_prompts(tmp_path):
    draw(Painter(), plan_of(), tmp_path / "run")
    for layout in ("wise", "geneval2"):
        export(tmp_path / "run", layout, tmp_path / layout)
        assert len(pictures_of(tmp_path / layout)) == 12
    table = json.loads((tmp_path / "geneval2" / "image_filepath_data.json").read_text())
    assert sorted(map(Path, table.values())) == sorted((tmp_path / "geneval2").glob("*.png"))


def test_a_table_by_prompt_cannot_hold_a_prompt_twice(tmp_path):
    (tmp_path / "prompts").mkdir()
    for name in "ab":
        (tmp_path / "prompts" / f"{name}.txt").write_text("a red star")
    plan = plan_of("dpg", Source(tmp_path / "prompts", allow_other=True), samples=1)
    draw(Painter(), plan, tmp_path / "run")
    with pytest.raises(ValueError, match="expected every prompt once, got several times 'a red star'"):
        export(tmp_path / "run", "geneval2", tmp_path / "out")


def test_what_cannot_be_exported_is_refused_and_leaves_nothing(run, tmp_path):
    with pytest.raises(ValueError, match="wise holds 1 per prompt, got 4"):
        export(run, "wise", tmp_path / "out")
    with pytest.raises(ValueError, match="did you mean 'geneval'"):
        export(run, "genevall", tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="expected a run of ours"):
        export(tmp_path, "geneval", tmp_path / "out")
    (tmp_path / "there").mkdir()
    with pytest.raises(FileExistsError, match="choose another name"):
        export(run, "geneval", tmp_path / "there")
    assert not (tmp_path / "out").exists()


def test_a_run_with_holes_is_not_exported(tmp_path):
    draw(Painter(), plan_of(), tmp_path / "run")
    path = tmp_path / "run" / "images" / "00003" / "samples" / "00000.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(
        ValueError, match=r"1 pictures are missing or broken: 'images/00003/samples/00000\.png'"
    ):
        export(tmp_path / "run", "geneval", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_prompts_without_metadata_make_no_geneval_folder(tmp_path):
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "a.txt").write_text("a red star")
    plan = plan_of("dpg", Source(tmp_path / "prompts", allow_other=True), samples=4)
    draw(Painter(), plan, tmp_path / "run")
    with pytest.raises(ValueError, match="--to geneval: prompt a: expected a field 'tag'"):
        export(tmp_path / "run", "geneval", tmp_path / "out")
    export(tmp_path / "run", "dpg", tmp_path / "grids")
    assert (tmp_path / "grids" / "a.png").read_bytes() == (tmp_path / "run" / "images" / "a.png").read_bytes()
