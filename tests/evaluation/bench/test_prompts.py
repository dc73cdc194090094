"""Prompts are read as their authors wrote them, known by their hash, and refused where they are others."""

from __future__ import annotations

import hashlib
import json
import subprocess

import pytest

from unimm.evaluation.bench import BENCHMARKS, dpg, geneval, geneval2, wise, world
from unimm.evaluation.bench.benchmark import Source
from unimm.evaluation.bench.items import (
    Item,
    check_template,
    git_blob,
    items_of,
    limited,
    recognised,
)
from unimm.evaluation.bench.kept import keep_prompts, kept_prompts
from unimm.evaluation.scorers import SCORERS
from unimm.evaluation.session import prompts_for
from unimm.world.prompts import prompts
from unimm.world.spec import FAMILIES

LINE = {
    "tag": "colors",
    "include": [{"class": "cup", "count": 1, "color": "red"}],
    "prompt": "a photo of a red cup",
}
PART = {"prompt": "two cups", "atom_count": 3, "vqa_list": [["How many cups?", "two"]], "skills": ["count"]}
ENTRY = {"prompt_id": 1, "Prompt": "the round pastry", "Explanation": "mooncake", "Category": "Culture"}


def lines(path, *objects):
    path.write_text("".join(json.dumps(each) + "\n" for each in objects))
    return path


def test_the_id_of_a_file_is_gits(tmp_path):
    (tmp_path / "file").write_bytes(b"a photo\nof a cup")
    said = subprocess.run(["git", "hash-object", "file"], cwd=tmp_path, capture_output=True, text=True)
    assert git_blob(b"a photo\nof a cup") == said.stdout.strip()


def test_geneval_reads_its_file_or_the_folder_with_it(tmp_path):
    path = lines(tmp_path / geneval.FILE, LINE, {**LINE, "tag": "counting", "prompt": "a photo of cups"})
    for place in (path, tmp_path):
        found = geneval.read(Source(place, allow_other=True))
        assert [(i.index, i.name, i.prompt, i.task) for i in found.items] == [
            (0, "00000", "a photo of a red cup", "colors"),
            (1, "00001", "a photo of cups", "counting"),
        ]
        assert found.items[0].facts == LINE
        assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert found.known is None


def test_recorded_prompts_are_known_by_name(tmp_path, monkeypatch):
    path = lines(tmp_path / geneval.FILE, LINE)
    monkeypatch.setitem(geneval.RECORDED, git_blob(path.read_bytes()), "somebody/geneval@1234567")
    assert geneval.read(Source(path)).known == "somebody/geneval@1234567"


def test_other_prompts_are_refused_with_both_hashes(tmp_path):
    path = lines(tmp_path / geneval.FILE, LINE)
    with pytest.raises(ValueError, match="--allow-other-prompts") as refused:
        geneval.read(Source(path))
    assert git_blob(path.read_bytes()) in str(refused.value)
    assert "efc21c7e639cd45554a1e44fac87157211f16d51" in str(refused.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tag": "colours"}, "line 1: tag: expected one of single_object"),
        ({"prompt": None}, "line 1: prompt: expected str, got None"),
        ({"include": [{"class": "cup"}]}, "line 1: expected a field 'count'"),
        ({"include": ["cup"]}, "expected objects in include"),
        ({"include": [{"class": "cup", "count": 1, "position": ["over", 0]}]}, "position: expected"),
        ({"include": [{"class": "cup", "count": 1, "position": ["above", 3]}]}, "position: expected"),
    ],
)
def test_a_line_that_is_not_genevals_is_named(change, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        geneval.read(Source(lines(tmp_path / geneval.FILE, {**LINE, **change}), allow_other=True))


def test_dpg_reads_a_folder_of_texts_or_one_object_as_the_same_prompts(tmp_path):
    texts = {"b10": "a hare", "a2": "a tortoise\n", "a10": " a fox"}
    folder = tmp_path / "dpg" / "prompts"
    folder.mkdir(parents=True)
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text)
    (tmp_path / "prompts.json").write_text(json.dumps(texts))
    found = [
        dpg.read(Source(place, allow_other=True))
        for place in (folder, folder.parent, tmp_path / "prompts.json")
    ]
    assert found[0] == found[1] == found[2]
    assert [(item.name, item.prompt) for item in found[0].items] == [
        ("a10", "a fox"),
        ("a2", "a tortoise"),
        ("b10", "a hare"),
    ]
    with pytest.raises(ValueError, match="expected prompts with the hash 6149816930"):
        dpg.read(Source(folder))


def test_wise_reads_three_files_in_the_order_of_their_ids(tmp_path):
    for number, name in enumerate(wise.FILES, start=1):
        entry = {**ENTRY, "prompt_id": number, "Category": name}
        (tmp_path / f"{name}_verified.json").write_text(json.dumps([entry]))
    found = wise.read(Source(tmp_path, allow_other=True))
    assert [item.name for item in found.items] == ["1", "2", "3"]
    (tmp_path / f"{wise.FILES[1]}_verified.json").unlink()
    with pytest.raises(FileNotFoundError, match="spatio-temporal_reasoning"):
        wise.read(Source(tmp_path, allow_other=True))


def test_the_set_of_wise_decides_its_protocol():
    assert sorted(map(wise.protocol, wise.RECORDED.values())) == ["legacy", "verified"]
    assert wise.protocol(None) is None
    assert {wise.protocol(name) for name in wise.RECORDED.values()} == set(SCORERS["wise"].protocols)


def test_geneval2_reads_its_lines_and_names_a_bad_one(tmp_path):
    path = lines(tmp_path / geneval2.FILE, PART)
    assert geneval2.read(Source(path, allow_other=True)).items[0].task == "3"
    lines(path, {**PART, "skills": ["count", "object"]})
    with pytest.raises(ValueError, match="expected a skill per question, got 2 skills and 1 questions"):
        geneval2.read(Source(path, allow_other=True))
    lines(path, {**PART, "vqa_list": [["How many cups?", 2]]})
    with pytest.raises(ValueError, match=r"expected \[question, answer\]"):
        geneval2.read(Source(path, allow_other=True))


def test_words_whose_probability_counts():
    assert geneval2.spellings("How many cups are there?", "two") == ["two", "Two", " two", " Two", "2", " 2"]
    assert geneval2.spellings("Is the cup red?", "Yes") == ["Yes", "yes", " yes", " Yes"]


@pytest.mark.parametrize("split", ["held_in", "held_out"])
def test_the_worlds_prompts_are_balanced_and_in_genevals_schema(split):
    found = world.read(Source(limit=60, split=split))
    assert [item.prompt for item in found.items] == [prompt.text for prompt in prompts(split, 10)]
    for number, item in enumerate(found.items):
        geneval.check_metadata(item.facts, "a line")
        assert item.facts["number"] == number
    tasks = [item.task for item in found.items]
    assert {tasks.count(family) for family in FAMILIES} == {10}
    assert found.known == f"unimm.world, {split}"


def test_the_moved_thing_is_the_one_that_has_the_position():
    asked = next(prompt for prompt in prompts("held_in", 5) if prompt.spec.relation == "left of")
    moved, anchor = asked.spec.mentions
    assert world.metadata(asked)["include"] == [
        {"class": anchor.shape, "count": 1},
        {"class": moved.shape, "count": 1, "position": ["left of", 0]},
    ]


def test_a_number_asked_for_is_neither_fewer_nor_more():
    asked = next(prompt for prompt in prompts("held_in", 5) if prompt.spec.family == "counting")
    (mention,) = asked.spec.mentions
    line = world.metadata(asked)
    assert line["include"] == [{"class": mention.shape, "count": mention.count}]
    assert line["exclude"] == [{"class": mention.shape, "count": mention.count + 1}]


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("world", Source(limit=5), "--limit: expected at least 6"),
        ("world", Source(split="heldout"), "did you mean 'held_out'"),
        ("geneval", Source(), "--prompts: geneval needs the path"),
        ("geneval", Source(split="held_in"), "--split: geneval has no splits"),
    ],
)
def test_what_a_source_lacks_is_said(name, source, said):
    with pytest.raises(ValueError, match=said):
        BENCHMARKS[name].read(source)


def test_a_path_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing at"):
        BENCHMARKS["geneval"].read(Source(tmp_path / "no"))


def test_a_part_is_taken_from_every_task_in_turn():
    tasks = ["a"] * 5 + ["b"] * 2 + ["c"] * 3
    items = items_of([(str(i), "x", task, {}) for i, task in enumerate(tasks)], "here")
    assert [item.index for item in limited(items, 7)] == [0, 1, 2, 5, 6, 7, 8]
    assert limited(items, None) == limited(items, 99) == items
    with pytest.raises(ValueError, match="--limit"):
        limited(items, 0)


def test_a_name_twice_or_an_empty_prompt_is_refused():
    with pytest.raises(ValueError, match="found 'x' more than once"):
        items_of([("x", "a", None, {}), ("x", "b", None, {})], "here")
    with pytest.raises(ValueError, match="x: expected a prompt"):
        items_of([("x", "  ", None, {})], "here")
    with pytest.raises(ValueError, match="found none"):
        items_of([], "here")


def test_a_template_has_one_place_for_the_prompt():
    assert check_template("Draw {prompt}") == "Draw {prompt}"
    for bad in ("Draw", "{prompt} {prompt}"):
        with pytest.raises(ValueError, match="--template"):
            check_template(bad)


def test_hashes_that_are_recorded_are_named():
    assert recognised("file", "12", {"12": "this"}, False) == "this"
    assert recognised("file", "13", {"12": "this"}, True) is None


def test_kept_prompts_are_the_prompts(tmp_path):
    found = prompts_for(BENCHMARKS["world"], Source(limit=6))
    assert kept_prompts(tmp_path) is None
    keep_prompts(tmp_path, found)
    assert kept_prompts(tmp_path) == found
    with pytest.raises(ValueError, match="other prompts are there"):
        keep_prompts(tmp_path, prompts_for(BENCHMARKS["world"], Source(limit=12)))


def test_a_rewritten_prompt_is_drawn_and_the_original_judged():
    item = Item(0, "0", "a cup", None, {}, "a red cup of tea")
    assert (item.words, item.prompt) == ("a red cup of tea", "a cup")


def test_every_benchmark_is_whole():
    for name, benchmark in BENCHMARKS.items():
        assert benchmark.name == name
        assert benchmark.scorer in SCORERS
        benchmark.layout.check(benchmark.samples)
        assert benchmark.defaults.keys() <= benchmark.roles.keys()
