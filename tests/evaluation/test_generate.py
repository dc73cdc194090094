"""Pictures lie where an official script looks for them, each drawn once, whatever interrupts the drawing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image

from tests.evaluation.painter import Crowded, Painter, draw, pictures_of, plan_of
from unimm.evaluation import tiles
from unimm.evaluation.bench.benchmark import Source
from unimm.evaluation.bench.items import rewritten_prompts
from unimm.evaluation.generate import Share, blocks
from unimm.evaluation.run import CANDIDATES, SAMPLES, read_run, seed_of
from unimm.evaluation.tiles import whole
from unimm.evaluation.writer import Writer
from unimm.request import noise_of

ROOT = Path(__file__).resolve().parents[2]


def samples_of(run) -> dict[str, bytes]:
    return {name: data for name, data in pictures_of(run).items() if "/samples/" in name}


def test_every_prompt_gets_its_pictures_in_the_benchmarks_order(tmp_path):
    plan, model = plan_of(samples=2), Painter()
    assert draw(model, plan, tmp_path) == 24 == model.drawn
    assert sorted(samples_of(tmp_path)) == [
        f"images/{item:05d}/samples/{sample:05d}.png" for item in range(12) for sample in range(2)
    ]
    asked = [prompt for call in model.calls for prompt in call]
    assert asked == [item.prompt for item in plan.prompts.items for _ in range(2)]
    assert max(map(len, model.calls)) == plan.batch_size


def test_a_finished_run_draws_nothing(tmp_path):
    plan = plan_of()
    draw(Painter(), plan, tmp_path)
    before, model = pictures_of(tmp_path), Painter()
    assert draw(model, plan, tmp_path) == 0 == model.drawn
    assert pictures_of(tmp_path) == before


def test_a_picture_cut_short_is_drawn_again_and_no_other(tmp_path):
    plan = plan_of()
    draw(Painter(), plan, tmp_path)
    before = pictures_of(tmp_path)
    for name in ("images/00003/samples/00000.png", "images/00007/samples/00000.png"):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:-200])
        assert not whole(path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("samples/*.png")}
    assert draw(Painter(), plan, tmp_path) == 2
    assert pictures_of(tmp_path) == before
    touched = [path for path, time in times.items() if path.stat().st_mtime_ns != time]
    assert len(touched) == 2


def test_an_interrupted_run_ends_in_the_pictures_of_one_that_was_not(tmp_path):
    plan, model = plan_of(), Crowded()
    draw(Crowded(), plan, tmp_path / "once")
    model.patience = 8
    with pytest.raises(KeyboardInterrupt):
        draw(model, plan, tmp_path / "cut")
    assert len(samples_of(tmp_path / "cut")) == 8
    (tmp_path / "cut" / "images" / "00002" / "samples" / "00000.png").unlink()
    model.patience = None
    assert draw(model, plan, tmp_path / "cut") == 5
    assert pictures_of(tmp_path / "cut") == pictures_of(tmp_path / "once")


@pytest.mark.slow
def test_a_killed_run_leaves_whole_pictures_and_goes_on(tmp_path):
    script = """
        import os, signal, sys, time, types
        from pathlib import Path

        sys.modules["tests"] = types.ModuleType("tests")  # installed packages may bring one of that name
        sys.modules["tests"].__path__ = [str(Path("tests").resolve())]
        from tests.evaluation import painter

        class Painter(painter.Painter):
            def generate_image(self, prompt, **options):
                if self.drawn >= 8:
                    while not any(Path(sys.argv[1]).rglob("samples/0*.png")):
                        time.sleep(0.01)  # another thread writes
                    os.kill(os.getpid(), signal.SIGKILL)
                return super().generate_image(prompt, **options)

        painter.draw(Painter(), painter.plan_of(), Path(sys.argv[1]))
    """
    words = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "killed")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    there = samples_of(tmp_path / "killed")
    assert 0 < len(there) <= 8
    assert all(whole(tmp_path / "killed" / name) for name in there)
    draw(Painter(), plan_of(), tmp_path / "killed")
    draw(Painter(), plan_of(), tmp_path / "once")
    assert pictures_of(tmp_path / "killed") == pictures_of(tmp_path / "once")


@pytest.mark.parametrize("samples", [2, 3])
def test_shares_make_the_pictures_of_a_single_process(samples, tmp_path):
    plan = plan_of(samples=samples)
    draw(Crowded(), plan, tmp_path / "one")
    counts = [draw(Crowded(), plan, tmp_path / "many", Share(rank, 3)) for rank in (2, 0, 1)]
    assert sum(counts) == 12 * samples
    assert min(counts) > 0
    assert pictures_of(tmp_path / "many") == pictures_of(tmp_path / "one")


def test_a_grid_that_two_shares_make_together_is_made(tmp_path):
    source = Source(folder_of_prompts(tmp_path), allow_other=True)
    plan = plan_of("dpg", source, samples=4, batch_size=3)
    for rank in (0, 1):
        draw(Painter(), plan, tmp_path / "run", Share(rank, 2))
    with Image.open(tmp_path / "run" / "images" / "b.png") as grid:
        assert grid.size == (160, 160)
        corner = grid.crop((80, 0, 160, 80)).tobytes()
    with Image.open(tmp_path / "run" / "samples" / "b" / "00001.png") as second:
        assert second.tobytes() == corner


def folder_of_prompts(tmp_path) -> Path:
    folder = tmp_path / "prompts"
    folder.mkdir()
    for name, text in {"a": "a red star", "b": "two circles", "c": "something else entirely"}.items():
        (folder / f"{name}.txt").write_text(text + "\n")
    return folder


def test_other_settings_in_the_folder_are_refused_by_name(tmp_path):
    draw(Painter(), plan_of(), tmp_path)
    other = plan_of(sampling={"steps": 3}, seed=1)
    with pytest.raises(ValueError, match=r"seed: 1 here, 0 there; sampling\.steps: 3 here, 2 there"):
        draw(Painter(), other, tmp_path)
    changed = Painter()
    changed.state_dict = lambda: {k: v + 1 for k, v in Painter.state_dict(changed).items()}
    with pytest.raises(ValueError, match=r"model\.weights"):
        draw(changed, plan_of(), tmp_path)


def test_how_the_work_is_cut_is_no_other_run(tmp_path):
    draw(Painter(), plan_of(batch_size=4), tmp_path)
    before = pictures_of(tmp_path)
    assert draw(Painter(), plan_of(batch_size=5), tmp_path) == 0
    draw(Painter(), plan_of(batch_size=5), tmp_path / "other")
    assert pictures_of(tmp_path / "other") == {n: d for n, d in before.items() if not n.startswith("other")}


def test_the_run_says_what_it_was_made_with(tmp_path):
    plan = plan_of(sampling={"steps": 7, "best_of": 4, "guidance": 2.0}, template="Draw {prompt} now")
    model = Painter()
    draw(model, plan, tmp_path)
    run = read_run(tmp_path)
    assert run["sampling"]["verifier"] == "answer_logits"
    assert run["prompts"]["template"] == "Draw {prompt} now"
    assert run["prompts"]["rewritten"] is False
    assert run["model"]["name"] == "painter"
    assert len(run["model"]["weights"]) == 64
    assert model.calls[0][0] == f"Draw {plan.prompts.items[0].prompt} now"
    told = {"num_inference_steps": 7, "guidance_scale": 2.0, "best_of": 4, "verifier": "answer_logits"}
    assert model.asked[0] == told


def test_what_is_left_to_the_model_is_said_all_the_same():
    model = {"guidance": 3.0, "solver": "clean"}
    left, asked = plan_of(), plan_of(sampling={"steps": 2, "guidance": 3.0, "solver": "clean"})
    assert left.identity(model)["sampling"]["guidance"] == 3.0
    assert left.identity(model) == asked.identity(model)
    assert left.sampling.options()["guidance_scale"] is None


def test_rewritten_prompts_are_drawn_and_the_original_ones_kept(tmp_path):
    plan = plan_of()
    path = tmp_path / "long.txt"
    path.write_text("".join(f"{item.prompt} on a sky background\n" for item in plan.prompts.items))
    short = tmp_path / "short.txt"
    short.write_text("\n".join(["a star"] * 11))
    with pytest.raises(ValueError, match="expected 12 rewritten prompts, got 11"):
        rewritten_prompts(plan.prompts, short)
    model = Painter()
    rewritten = replace(plan, prompts=rewritten_prompts(plan.prompts, path))
    draw(model, rewritten, tmp_path / "run")
    assert model.calls[0][0].endswith("on a sky background")
    assert read_run(tmp_path / "run")["prompts"]["rewritten"] is True
    line = json.loads((tmp_path / "run" / "images" / "00000" / "metadata.jsonl").read_text())
    assert line["prompt"] == plan.prompts.items[0].prompt


def test_each_prompt_and_picture_has_its_own_seeds():
    places = [(base, item, sample) for base in (0, 1, 5) for item in (0, 1, 552) for sample in range(4)]
    firsts = sorted(seed_of(*place) for place in places)
    assert len(set(firsts)) == len(places)
    assert min(b - a for a, b in pairwise(firsts)) >= CANDIDATES
    assert seed_of(2**22 - 1, 2**20 - 1, SAMPLES - 1) + CANDIDATES <= 2**63
    with pytest.raises(ValueError, match="--seed: expected 0 to"):
        seed_of(-1, 0, 0)


def test_a_prompt_has_the_seeds_of_its_place_whatever_else_is_drawn(tmp_path):
    whole_set, part = plan_of(source=Source(limit=24)), plan_of(source=Source(limit=12))
    draw(Painter(), whole_set, tmp_path / "whole")
    draw(Painter(), part, tmp_path / "part")
    found = samples_of(tmp_path / "whole")
    assert {name: found[name] for name in samples_of(tmp_path / "part")} == samples_of(tmp_path / "part")


def test_the_best_for_a_prompt_are_chosen_together():
    sampling = {"steps": 2, "best_of": 8, "selection": "top"}
    cut = list(blocks(plan_of(samples=4, sampling=sampling, batch_size=16)))
    assert [len(block) for block in cut] == [2] * 6
    assert cut[0][0].samples == (0, 1, 2, 3)
    with pytest.raises(ValueError, match="--best-of: expected at least the 4 pictures"):
        plan_of(samples=4, sampling={"steps": 2, "best_of": 2, "selection": "top"})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"template": "no place"}, "--template: expected {prompt} in it once"),
        ({"samples": 0}, "--samples"),
        ({"seed": -1}, "--seed: expected 0"),
        ({"sampling": {"verifier": "answer_logits"}}, "add --best-of"),
        ({"sampling": {"steps": 0}}, "--steps"),
        ({"sampling": {"selection": "eech"}}, "did you mean 'each'"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_drawn(options, expected):
    with pytest.raises(ValueError, match=expected):
        plan_of(**options)


def test_a_share_outside_the_world_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="--rank: expected 0 to 1, got 2"):
        Share(2, 2)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert Share.of_environment() == Share(1, 4)
    assert Share.of_environment(0, 2) == Share(0, 2)


def test_an_error_while_writing_stops_the_drawing():
    done = []

    def fail():
        raise OSError("the disk is full")

    def write(jobs):
        with Writer() as writer:
            for job in jobs:
                writer.put(job)

    with pytest.raises(OSError, match="full"):
        write([fail, lambda: done.append(1)])
    assert done == []


def test_writing_keeps_its_order():
    done = []
    with Writer() as writer:
        for number in range(200):
            writer.put(lambda number=number: done.append(number))
    assert done == list(range(200))


def test_drawing_does_not_wait_for_the_disk(tmp_path, monkeypatch):
    going_on, written = threading.Event(), []

    class Watched(Painter):
        def generate_image(self, prompt, **options):
            if self.calls:
                going_on.set()
            return super().generate_image(prompt, **options)

    def save(picture, write=tiles.png):  # no picture is on the disk before a second block is begun
        written.append(going_on.wait(60))
        return write(picture)

    monkeypatch.setattr("unimm.evaluation.generate.png", save)
    draw(Watched(), plan_of(source=Source(limit=24)), tmp_path)
    assert written == [True] * 24


def test_the_base_seed_the_prompt_and_the_sample_each_give_other_noise():
    """The seeds of a run lie further apart than the 32 bits that torch's generator takes."""
    places = [(0, 0, 0), (1, 0, 0), (2, 0, 0), (0, 1, 0), (0, 4096, 0), (0, 0, 1), (1, 1, 1)]
    noise = noise_of([seed_of(*place) for place in places], 16)
    assert len({tuple(row.tolist()) for row in noise}) == len(places)
