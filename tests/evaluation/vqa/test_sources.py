"""The same questions from every kind of file; what cannot be read is named, or fails alone."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
from types import SimpleNamespace

import pytest

from tests.evaluation.vqa.people import Person, one_who_knows, silent
from unimm.evaluation.vqa import sources, tables
from unimm.evaluation.vqa.rows import Row
from unimm.evaluation.vqa.runner import Asked, Settings, questions_of, run
from unimm.evaluation.vqa.sources import open_data
from unimm.evaluation.vqa.tasks import TASKS
from unimm.evaluation.vqa.world import MAKERS


def world_rows(bench: str, number: int = 4) -> list[dict]:
    return [dict(row.fields) for row in open_data(TASKS[bench], "world", limit=number).rows()]


def read(bench: str, data, limit: int | None = None):
    settings = Settings(bench, str(data), limit=limit)
    return list(questions_of(settings, open_data(settings.task, settings.data), Asked()))


def write_lines(folder, rows):
    """Write JSON lines with the pictures beside them."""
    folder.mkdir()
    (folder / "images").mkdir()
    made = []
    for at, row in enumerate(rows):
        row = dict(row)
        for name, value in row.items():
            listed = isinstance(value, list) and value and isinstance(value[0], dict) and "bytes" in value[0]
            if listed or (isinstance(value, dict) and "bytes" in value):
                (folder / "images" / f"{at}.png").write_bytes((value[0] if listed else value)["bytes"])
                row[name] = [f"images/{at}.png"] if listed else f"images/{at}.png"
        made.append(json.dumps(row))
    (folder / "test.jsonl").write_text("\n".join(made) + "\n")
    return folder


def write_table(path, rows, shared: bool = False):
    """Write a table as VLMEvalKit has them; with `shared`, rows about one picture refer to the first."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    first: dict[str, str] = {}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, delimiter="\t")
        writer.writeheader()
        for row in rows:
            text = base64.b64encode(row["image"]).decode()
            reference = first.setdefault(text, str(row["index"])) if shared else str(row["index"])
            writer.writerow({**row, "image": text if reference == str(row["index"]) else reference})
    return path


@pytest.mark.parametrize("bench", MAKERS)
def test_json_lines_and_parquet_give_the_same_questions_as_the_world(bench, tmp_path):
    from datasets import Dataset

    rows = world_rows(bench)
    lines = write_lines(tmp_path / "lines", rows)
    (tmp_path / "parquet").mkdir()
    Dataset.from_list(rows).to_parquet(str(tmp_path / "parquet" / "test.parquet"))
    wanted = read(bench, "world", 4)
    for folder in (lines, tmp_path / "parquet"):
        found = read(bench, folder)
        assert [question.record() for question in found] == [question.record() for question in wanted]
        assert [question.text for question in found] == [question.text for question in wanted]
        assert [question.picture.read() for question in found] == [q.picture.read() for q in wanted]


def test_parquet_with_an_image_feature_is_not_decoded(tmp_path):
    from datasets import Dataset, Image, Sequence

    for bench, feature in (("mme", Image()), ("seed", Sequence(Image()))):
        rows = world_rows(bench)
        folder = tmp_path / bench
        folder.mkdir()
        Dataset.from_list(rows).cast_column("image", feature).to_parquet(str(folder / "test.parquet"))
        found = read(bench, folder)
        assert [q.picture.read() for q in found] == [q.picture.read() for q in read(bench, "world", 4)]


def test_pictures_of_gqa_are_found_in_their_own_part(tmp_path):
    from datasets import Dataset

    rows = world_rows("gqa")
    images = [{"id": row["imageId"], "image": row.pop("image")} for row in rows]
    for name, part in (("testdev_balanced_instructions", rows), ("testdev_balanced_images", images[:-1])):
        (tmp_path / name).mkdir()
        Dataset.from_list(part).to_parquet(str(tmp_path / name / "testdev.parquet"))
    found = read("gqa", tmp_path)
    wanted = read("gqa", "world", 4)
    assert [q.picture and q.picture.read() for q in found] == [*(q.picture.read() for q in wanted[:-1]), None]


@pytest.mark.parametrize(("bench", "split", "asked_for"), [("gqa", None, "testdev"), ("mme", "dev", "dev")])
def test_the_hub_is_asked_for_the_parts_and_the_split(bench, split, asked_for, monkeypatch):
    import datasets

    rows = world_rows(bench)
    images = [{"id": row["imageId"], "image": row.pop("image")} for row in rows] if bench == "gqa" else []
    task, asked = TASKS[bench], []

    def load_dataset(name, config, split, revision, streaming):
        assert (streaming, revision) == (True, f"commit of {task.dataset} at v1")
        asked.append((name, config, split))
        found = images if task.images is not None and config == task.images.config else rows
        return datasets.Dataset.from_list(found).to_iterable_dataset()

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(sources, "commit_of", lambda name, revision: f"commit of {name} at {revision}")
    data = open_data(task, task.dataset, split, revision="v1")
    found = [data.schema(row) for row in data.rows()]
    assert [q.picture.read() for q in found] == [q.picture.read() for q in read(bench, "world", 4)]
    parts = [task.images.config, *task.configs] if task.images else [None]
    assert asked == [(task.dataset, part, asked_for) for part in parts]
    assert data.facts["split"] == asked_for
    assert data.facts["revision"] == f"commit of {task.dataset} at v1"


def test_a_data_set_is_of_one_commit_or_not_there(monkeypatch):
    import huggingface_hub

    def dataset_info(api, name, revision, timeout):
        if revision == "gone":
            raise ConnectionError("no such branch")
        return SimpleNamespace(sha=f"{name}-{revision}")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    assert open_data(TASKS["mme"], "lmms-lab/MME").facts["revision"] == "lmms-lab/MME-None"
    with pytest.raises(FileNotFoundError, match="the data set 'a/b' at 'gone' on the hub .no such branch"):
        open_data(TASKS["mme"], "a/b", revision="gone")
    with pytest.raises(ValueError, match="--data-revision: world is not on the hub"):
        open_data(TASKS["mme"], "world", revision="v1")


def yes_no_table(rows):
    return [
        {
            "index": at, "image": row["image"]["bytes"], "question": row["question"], "answer": row["answer"],
            "category": row["category"], "image_path": row.get("question_id", ""),
        }
        for at, row in enumerate(rows)
    ]  # fmt: skip


@pytest.mark.parametrize("shared", [False, True])
def test_a_table_of_mme_scores_as_the_world_does(shared, tmp_path):
    path = write_table(tmp_path / "MME.tsv", yes_no_table(world_rows("mme", 8)), shared)
    settings = Settings("mme", str(path), "vlmevalkit")
    card = run(one_who_knows(settings), settings, tmp_path / "out", say=silent)
    assert card["scores"]["perception (4 of 10)"]["mean"] == 800
    said = json.loads((tmp_path / "out" / "run.json").read_text())["data"]
    assert said["md5"] == hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    assert (said["kind"], said["published"]) == ("table", None)


def test_a_published_table_is_recognised_by_its_digest(tmp_path, monkeypatch):
    path = write_table(tmp_path / "any.tsv", yes_no_table(world_rows("mme", 2)))
    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setitem(tables.MD5, digest, "MME")
    assert open_data(TASKS["mme"], str(path)).facts["published"] == "MME"


def test_a_table_of_choices_has_its_options_and_rotations(tmp_path):
    rows = [
        {"index": row["index"], "image": row["image"]["bytes"], "question": row["question"], "hint": "",
         **{letter: row[letter] for letter in "ABCD"}, "answer": row["answer"], "category": row["category"]}
        for row in world_rows("mmbench")
    ]  # fmt: skip
    found = read("mmbench", write_table(tmp_path / "MMBench.tsv", rows, shared=True))
    wanted = read("mmbench", "world", 4)
    assert [(q.id, q.gold, q.options, q.facts) for q in found] == [
        (q.id, q.gold, q.options, q.facts) for q in wanted
    ]
    assert [q.picture.read() for q in found] == [q.picture.read() for q in wanted]


def test_a_table_of_mmmu_has_choices_and_open_questions(tmp_path):
    picture = world_rows("ai2d", 1)[0]["image"]["bytes"]
    rows = [
        {
            "index": 1,
            "image": picture,
            "question": "x?",
            "A": "1",
            "B": "2",
            "answer": "B",
            "category": "Art",
        },
        {"index": 2, "image": picture, "question": "y?", "A": "", "B": "", "answer": "7", "category": "Art"},
    ]
    choice, free = read("mmmu", write_table(tmp_path / "MMMU.tsv", rows))
    assert (choice.options, choice.gold) == (("1", "2"), "B")
    assert (free.options, free.gold) == (None, ("7",))
    assert (choice.pictures, choice.more) == (1, ())


def test_questions_of_mmmu_keep_all_their_pictures(tmp_path):
    own, other = (row["image"]["bytes"] for row in world_rows("ai2d", 2))
    row = {
        "id": "validation_Art_1", "question": "<image 1> or <image 2>?", "question_type": "multiple-choice",
        "options": "['left', '<image 2>']", "answer": "B", "image_1": {"bytes": own, "path": None},
        "image_2": {"bytes": other, "path": None}, "image_3": None,
    }  # fmt: skip
    (found,) = read("mmmu", write_many(tmp_path / "hub", [row]))
    texts = repr([base64.b64encode(data).decode() for data in (own, other)])
    path = tmp_path / "MMMU.tsv"
    path.write_text(f"index\timage\tquestion\tA\tB\tanswer\tcategory\n1\t{texts}\tx?\t1\t2\tB\tArt\n")
    (listed,) = read("mmmu", path)
    for question in (found, listed):
        assert question.pictures == 2
        assert [picture.read() for picture in (question.picture, *question.more)] == [own, other]


def test_mmvp_is_read_as_it_is_published(tmp_path):
    (tmp_path / "MMVP Images").mkdir()
    rows = world_rows("mmvp", 2)
    with (tmp_path / "Questions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["lndex", "Question", "Options", "Correct Answer"])  # so it is spelt there
        for row in rows:
            (tmp_path / "MMVP Images" / f"{row['Index']}.jpg").write_bytes(row["image"]["bytes"])
            writer.writerow([row["Index"], row["Question"], row["Options"], row["Correct Answer"]])
    found, wanted = read("mmvp", tmp_path), read("mmvp", "world", 2)
    assert [(q.id, q.gold, q.options, q.facts) for q in found] == [
        (q.id, q.gold, q.options, q.facts) for q in wanted
    ]
    assert [q.picture.read() for q in found] == [q.picture.read() for q in wanted]


def test_videos_of_seed_are_left_out_and_counted(tmp_path):
    rows = world_rows("seed")
    rows[1]["image"] = rows[1]["image"] * 3
    asked, settings = Asked(), Settings("seed", str(write_many(tmp_path / "seed", rows)))
    found = list(questions_of(settings, open_data(settings.task, settings.data), asked))
    assert [question.id for question in found] == ["0", "2", "3"]
    assert asked.left_out == {"several pictures": 1}


def write_many(folder, rows):
    from datasets import Dataset

    folder.mkdir()
    Dataset.from_list(rows).to_parquet(str(folder / "test.parquet"))
    return folder


def test_pictures_that_are_missing_cut_short_or_none_at_all_fail_and_are_shown(tmp_path):
    folder = write_lines(tmp_path / "lines", world_rows("ai2d", 6))
    (folder / "images" / "0.png").unlink()
    whole = (folder / "images" / "1.png").read_bytes()
    (folder / "images" / "1.png").write_bytes(whole[: len(whole) // 2])
    (folder / "images" / "2.png").write_bytes(b"<html>not found</html>")
    said: list[str] = []
    settings = Settings("ai2d", str(folder))
    card = run(Person(lambda image, prompt: "A"), settings, tmp_path / "out", say=said.append)
    assert (card["n"], card["failed"], card["scores"]["accuracy"]["n"]) == (6, 3, 6)
    assert "failed 3" in said[0]
    assert any("no picture at" in error for error in card["errors"])
    assert sum("not readable as a picture" in error for error in card["errors"]) == 2
    (folder / "images" / "0.png").write_bytes(whole)
    mended = run(Person(lambda image, prompt: "A"), settings, tmp_path / "out", say=silent)
    assert (mended["n"], mended["failed"]) == (6, 2)


def test_a_picture_that_is_no_base64_fails_alone(tmp_path):
    path = write_table(tmp_path / "MME.tsv", yes_no_table(world_rows("mme", 2)))
    text = path.read_text().split("\t")
    at = next(at for at, field in enumerate(text) if len(field) > 500)
    path.write_text("\t".join([*text[:at], "?" * 500, *text[at + 1 :]]))
    settings = Settings("mme", str(path))
    card = run(Person(lambda image, prompt: "yes"), settings, tmp_path / "out", say=silent)
    assert (card["n"], card["failed"]) == (4, 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"answer": None}, "answer: expected a text"),
        ({"image": "../secret.png"}, "image: expected a path inside"),
        ({"image": 7}, "image: expected the bytes of a picture, or its path"),
    ],
)
def test_a_row_that_is_not_as_it_should_be_is_named(change, said, tmp_path):
    folder = write_lines(tmp_path / "lines", world_rows("mme", 2))
    lines = (folder / "test.jsonl").read_text().splitlines()
    lines[2] = json.dumps({**json.loads(lines[2]), **change})
    (folder / "test.jsonl").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=rf"test\.jsonl, line 3: {said}"):
        read("mme", folder)


def test_data_of_another_benchmark_says_which_fields_it_has(tmp_path):
    folder = write_lines(tmp_path / "lines", world_rows("ai2d", 2))
    with pytest.raises(ValueError, match="question_id: expected a text, it has question, options, answer"):
        read("mme", folder)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.tsv", "question\tanswer\n1\t2\n", "expected columns such as index, image, question and answer"),
        ("a.tsv", "index\tquestion\n1\n", "line 2: expected 2 columns"),
        ("a.tsv", b"\xff\xfe\x00", "not readable as a table"),
        ("a.jsonl", '{"question": \n', "line 1: expected JSON"),
        ("a.jsonl", "[1]\n", "line 1: expected a JSON object, got list"),
        ("a.jsonl", "\n", "expected questions, found none"),
        ("a.txt", "", r"expected \*.parquet, \*.jsonl or \*.csv files"),
    ],
)
def test_files_that_cannot_be_read_are_named(name, content, said, tmp_path):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=said):
        read("mme", path if name.endswith(".tsv") else tmp_path)


def test_an_id_that_stands_twice_is_an_error(tmp_path):
    rows = world_rows("textvqa", 2)
    folder = write_lines(tmp_path / "lines", [*rows, rows[0]])
    with pytest.raises(ValueError, match="line 3: the id '0' stands twice"):
        read("textvqa", folder)


@pytest.mark.parametrize("data", ["nowhere", "./no/where", "no.tsv", "a/b/c"])
def test_data_that_is_not_there_is_an_error(data):
    with pytest.raises(FileNotFoundError, match="--data"):
        open_data(TASKS["mme"], data)


def test_a_limit_keeps_pairs_and_rotations_whole():
    assert len(read("mme", "world", 3)) == 6
    assert len(read("mmbench", "world", 3)) == 12
    assert len(read("mmvp", "world", 3)) == 6


def test_a_limit_of_a_file_keeps_rotations_that_come_later(tmp_path):
    rows = sorted(world_rows("mmbench", 4), key=lambda row: row["index"])
    settings = Settings("mmbench", str(write_lines(tmp_path / "lines", rows)), limit=2)
    found = list(questions_of(settings, open_data(settings.task, settings.data), Asked()))
    assert sorted(int(question.id) % 1_000_000 for question in found) == [0] * 4 + [1] * 4


def test_lists_in_texts_are_read_without_being_run():
    row = Row({"options": "['a', 'it\\'s']", "bad": "__import__('os')"}, "row 1")
    assert row.texts("options") == ("a", "it's")
    with pytest.raises(ValueError, match="row 1: bad: expected a list of texts"):
        row.texts("bad")
