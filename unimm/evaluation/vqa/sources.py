"""Where questions come from: a table with pictures in base64, a folder, the hub, or the built-in world.

Rows are read one after the other, pictures as bytes or paths, so that a benchmark need not fit into memory.
"""

from __future__ import annotations

import csv
import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unimm.evaluation.vqa.pictures import Picture, PictureError, from_base64
from unimm.evaluation.vqa.rows import Row
from unimm.evaluation.vqa.tables import MD5, Schema
from unimm.evaluation.vqa.tasks import Task
from unimm.whole import placed_lines

WORLD = "world"
_LONGEST_REFERENCE = 64  # VLMEvalKit: a shorter "image" is the index of the row that has it
_MVP_TABLE, _MVP_PICTURES = "Questions.csv", "MMVP Images"


@dataclass(frozen=True)
class Data:
    """Rows of a benchmark, and what they are."""

    rows: Callable[[], Iterator[Row]]
    """Starts from the first row at every call."""
    schema: Schema
    facts: Mapping[str, Any]
    """What identifies the data, for the run and the card."""


def open_data(
    task: Task,
    data: str,
    split: str | None = None,
    seed: int = 0,
    limit: int | None = None,
    revision: str | None = None,
) -> Data:
    """Return the rows of a benchmark.

    Args:
        task: which.
        data: "world"; a .tsv file as VLMEvalKit has them; a folder with *.parquet, *.jsonl or *.csv and
            pictures; or a data set on the hub such as "lmms-lab/MME".
        split: of a data set on the hub; the task's own if none is given.
        seed, limit: of the world's questions and their number.
        revision: of a data set on the hub, a commit, branch or tag; the newest if none is given.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: a folder without any of these files, or a revision of data that is not on the hub.
    """
    path = Path(data)
    on_hub = data.count("/") == 1 and not path.exists() and not data.startswith((".", "~", "/"))
    if revision is not None and not on_hub:
        raise ValueError(f"--data-revision: {data} is not on the hub; leave {revision!r} out")
    if data == WORLD:
        from unimm.evaluation.vqa import world

        return world.open_world(task, seed, limit)
    if path.suffix == ".tsv":
        return _table(task, path)
    if path.is_dir():
        return _folder(task, path, split)
    if on_hub:
        return _hub(task, data, split, commit_of(data, revision))
    raise FileNotFoundError(
        f"--data: no folder, .tsv file or data set {data!r}; the questions of {task.name} are on the hub as "
        f"{task.dataset}, or make them of the built-in world with --data {WORLD}"
    )


def _table(task: Task, path: Path) -> Data:
    if not path.is_file():
        raise FileNotFoundError(f"--data: there is no file {str(path)!r}")
    digest = _digests([path])
    published = MD5.get(digest["md5"])
    facts = {"kind": "table", "name": path.name, **digest, "published": published}
    return Data(lambda: _table_rows(path), task.table, facts)


def _table_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a table; a picture is read only when it is asked for."""
    lent = {reference for row in _tsv(path) if (reference := _reference(row))}
    kept = {
        row["index"]: row.get("image") or "" for row in (_tsv(path) if lent else ()) if row["index"] in lent
    }
    for number, row in enumerate(_tsv(path)):
        fields = {**row, "image": _table_picture(row, kept)}
        yield Row(fields, f"{path}, row {number + 1}", path.parent, number)


def _reference(row: Mapping[str, str]) -> str | None:
    image = row.get("image") or ""
    return image if 0 < len(image) <= _LONGEST_REFERENCE else None


def _table_picture(row: Mapping[str, str], kept: Mapping[str, str]) -> Any:
    """Return what stands for the picture: one that cannot be read fails when it is opened."""
    text = row.get("image") or ""
    reference = _reference(row)
    if reference is not None:
        text = kept.get(reference, "")
    if not text:
        return row.get("image_path") or None
    if text.startswith("["):  # several pictures
        return [_from_text(each.strip(" '\"")) for each in text.strip("[]").split(",")]
    return _from_text(text)


def _from_text(text: str) -> Picture:
    try:
        return from_base64(text)
    except PictureError:
        return Picture(b"")


def _tsv(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a tab-separated table by column.

    Raises:
        ValueError: no column "index", a row of another length, or bytes that are no text.
    """
    csv.field_size_limit(sys.maxsize)  # a picture is one field
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t")
            if "index" not in (reader.fieldnames or ()):
                raise ValueError(
                    f"{path}: expected columns such as index, image, question and answer, "
                    f"got {', '.join(reader.fieldnames or ()) or 'none'}"
                )
            for row in reader:
                if None in row or None in row.values():
                    raise ValueError(
                        f"{path}, line {reader.line_num}: expected {len(reader.fieldnames or ())} columns, "
                        "got another number; is the file cut short?"
                    )
                yield row
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not readable as a table ({error})") from None


def _folder(task: Task, folder: Path, split: str | None) -> Data:
    kinds: tuple[tuple[str, Callable[[Task, Path, list[Path]], Iterator[Row]]], ...] = (
        ("*.parquet", _parquet_rows),
        ("*.jsonl", _line_rows),
        ("*.csv", _csv_rows),
    )
    for pattern, read in kinds:
        files = sorted(path for path in folder.rglob(pattern) if split is None or path.stem.startswith(split))
        if files:
            facts = {"kind": pattern.removeprefix("*."), "name": folder.name, **_digests(files)}
            return Data(lambda: read(task, folder, files), task.hub, facts)  # noqa: B023 (returned at once)
    raise ValueError(
        f"--data {folder}: expected *.parquet, *.jsonl or *.csv files"
        + (f" whose names start with {split!r}" if split else "")
        + ", found none"
    )


def _line_rows(task: Task, folder: Path, files: list[Path]) -> Iterator[Row]:
    placed = (each for path in files for each in placed_lines(path))
    for number, (where, value) in enumerate(placed):
        yield Row(value, where, folder, number)


def _csv_rows(task: Task, folder: Path, files: list[Path]) -> Iterator[Row]:
    """Yield the rows of tables; MMVP's picture is found by its index."""
    number = 0
    for path in files:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file):
                fields: dict[str, Any] = dict(row)
                if path.name == _MVP_TABLE:
                    index = row.get("Index") or row.get("lndex") or ""
                    fields["image"] = f"{_MVP_PICTURES}/{index}.jpg"
                yield Row(fields, f"{path}, row {number + 1}", path.parent, number)
                number += 1


def _parquet_rows(task: Task, folder: Path, files: list[Path]) -> Iterator[Row]:
    """Yield the rows of a copy of a data set; a part of it is a folder of its own."""
    number, pictures = 0, {}
    if task.images is not None:
        parted = [path for path in files if task.images.config in path.parts]
        files = [path for path in files if path not in parted]
        pictures = _pictures_by_id(task, (row for path in parted for row in _parquet(path)))
    for path in files:
        config = path.parent.name if path.parent != folder else ""
        for fields in _parquet(path):
            yield Row(fields, f"{path}, row {number + 1}", folder, number, config, pictures)
            number += 1


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    from datasets import Features, Image, load_dataset

    stream = load_dataset("parquet", data_files=str(path), split="train", streaming=True)
    yield from _undecoded(stream, Features, Image)


def _undecoded(stream: Any, features: Any, image: type) -> Iterator[dict[str, Any]]:
    """Yield rows with pictures as {bytes, path}."""
    known = stream.features or {}
    for name, feature in known.items():
        if isinstance(feature, image):
            stream = stream.cast_column(name, image(decode=False))
        elif isinstance(getattr(feature, "feature", None), image):
            stream = stream.cast_column(name, type(feature)(image(decode=False)))
    yield from stream


def _pictures_by_id(task: Task, rows: Iterator[dict[str, Any]]) -> dict[str, Picture]:
    assert task.images is not None
    found = {}
    for number, fields in enumerate(rows, 1):
        row = Row(fields, f"{task.images.config}, row {number}")
        picture = row.picture()
        if picture is not None:
            found[row.text(task.images.id)] = picture
    return found


def commit_of(name: str, revision: str | None) -> str | None:
    """Return the commit of a data set on the hub that a revision names now, so that all of it is of one.

    Raises:
        FileNotFoundError: no such data set or revision, or no way to the hub.
    """
    from huggingface_hub import HfApi

    try:
        return HfApi().dataset_info(name, revision=revision, timeout=30).sha
    except Exception as error:  # every transport of the hub's client has errors of its own
        at = "" if revision is None else f" at {revision!r}"
        raise FileNotFoundError(
            f"--data: cannot reach the data set {name!r}{at} on the hub ({error})"
        ) from None


def _hub(task: Task, name: str, split: str | None, commit: str | None) -> Data:
    chosen = split or task.split
    facts = {"kind": "hub", "name": name, "revision": commit, "split": chosen, "configs": list(task.configs)}
    return Data(lambda: _hub_rows(task, name, chosen, commit), task.hub, facts)


def _hub_rows(task: Task, name: str, split: str, commit: str | None) -> Iterator[Row]:
    from datasets import Features, Image, load_dataset

    def rows(config: str | None) -> Iterator[dict[str, Any]]:
        stream = load_dataset(name, config, split=split, revision=commit, streaming=True)
        yield from _undecoded(stream, Features, Image)

    pictures = {} if task.images is None else _pictures_by_id(task, rows(task.images.config))
    number = 0
    for config in task.configs or (None,):
        for fields in rows(config):
            where = f"{name}{f' {config}' if config else ''}, row {number + 1}"
            yield Row(fields, where, None, number, config or "", pictures)
            number += 1


def _digests(paths: list[Path]) -> dict[str, Any]:
    """Return digests of the files' contents, one after the other."""
    md5, sha256, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    for path in paths:
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                md5.update(piece)
                sha256.update(piece)
                size += len(piece)
    return {"md5": md5.hexdigest(), "sha256": sha256.hexdigest(), "bytes": size}
