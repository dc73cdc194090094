"""The stages of one benchmark on one folder: what was asked, scored, and written down."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unimm.evaluation.bench import BENCHMARKS
from unimm.evaluation.bench.benchmark import Asked, Benchmark, Source
from unimm.evaluation.bench.items import PromptSet, limited, rewritten_prompts, sha256
from unimm.evaluation.bench.kept import FILE as PROMPTS
from unimm.evaluation.bench.kept import keep_prompts, kept_prompts
from unimm.evaluation.bench.layouts import LAYOUTS
from unimm.evaluation.card import make_card, read_card, write_card
from unimm.evaluation.generate import Share
from unimm.evaluation.page import PER_TASK, Shown, card_page
from unimm.evaluation.records import FILE as RECORDS
from unimm.evaluation.records import Records
from unimm.evaluation.run import read_run
from unimm.evaluation.score import Pictures, find_pictures, judge, judge_name, score
from unimm.evaluation.scored import Scored
from unimm.evaluation.scorers import SCORERS
from unimm.evaluation.tiles import Tile
from unimm.tables import pick
from unimm.whole import write_whole


def prompts_for(benchmark: Benchmark, source: Source, rewritten: Path | None = None) -> PromptSet:
    """Return the prompts to use: read, checked, rewritten if asked for, and limited."""
    found = benchmark.read(source)
    if rewritten is not None:
        found = rewritten_prompts(found, rewritten)
    return replace(found, items=limited(found.items, source.limit))


@dataclass(frozen=True)
class Options:
    """How a folder is scored."""

    files: Mapping[str, Path]
    """What judging needs besides, by role."""
    allow_other: bool = False
    allow_missing: bool = False
    allow_extra: bool = False
    protocol: str | None = None
    samples: int | None = None
    """Pictures per prompt; None is the run's own, or the official number."""
    batch_size: int = 8
    rules: Mapping[str, float] = field(default_factory=dict)
    """Numbers that stand in the place of the official rules' own, where a benchmark lets them."""


def asked_for(benchmark: Benchmark, prompts: PromptSet, samples: int, options: Options) -> Asked:
    """Return what is to be scored, with what judging needs besides.

    Raises:
        FileNotFoundError: such a file is not there.
        ValueError: it is needed and not given, given and not needed, or it is not the recorded one; an
            unknown protocol, or rules that the benchmark does not have.
    """
    if options.protocol is not None:
        pick("--protocol", options.protocol, SCORERS[benchmark.scorer].protocols)
    rules = dict(benchmark.rules(options.rules))
    odd = options.files.keys() - benchmark.files.keys()
    if odd:
        raise ValueError(f"--{min(odd)}: {benchmark.name} has no use for it")
    extras, files = {}, {}
    for name, read in benchmark.files.items():
        path = options.files.get(name)
        if path is None:
            continue
        if not path.is_file():
            raise FileNotFoundError(f"--{name}: there is no file {str(path)!r}")
        extras[name], known = read(path, options.allow_other)
        files[name] = {"path": str(path.resolve()), "sha256": sha256(path.read_bytes()), "known": known}
    if "questions" in benchmark.files and "questions" not in extras:
        raise ValueError(
            f"--questions: {benchmark.name} needs the path of its questions; they are not shipped"
        )
    hashes = [prompts.sha256, *(file["sha256"] for file in files.values())]
    hashes += [json.dumps(rules, sort_keys=True)] if rules else []
    return Asked(
        prompts.items,
        samples,
        prompts.known,
        extras,
        files,
        rules,
        options.protocol,
        options.allow_missing,
        sha256("\n".join(hashes).encode())[:16],
    )


def score_folder(
    benchmark: Benchmark,
    folder: Path,
    out: Path,
    prompts: PromptSet,
    judges: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
    options: Options,
    share: Share | None = None,
) -> dict[str, Any] | None:
    """Judge and score the pictures of a folder; write records, card and page to `out`.

    Args:
        benchmark: which.
        folder: a run of ours (its `run.json` is there), or a folder of pictures in the official layout.
        out: a folder; made if it is not there.
        prompts: of the pictures.
        judges: by role; or what loads them, which is called once nothing else can be wrong.
        options: how.
        share: which part of the judging is this process's.

    Returns:
        the card; None if another process has not judged its share yet.
    """
    run = read_run(folder)
    samples = options.samples or (run or {}).get("samples") or benchmark.samples
    layout = benchmark.layout if run is None else pick("layout", run["layout"], LAYOUTS)
    asked = asked_for(benchmark, prompts, samples, options)
    place = folder if run is None else folder / layout.folder
    pictures = find_pictures(layout, place, asked, options.allow_missing, options.allow_extra)
    judges = judges() if callable(judges) else judges
    benchmark.check(judges, asked.items)
    keep_prompts(out, prompts)
    records = Records(out / RECORDS)
    made = judge(benchmark, pictures, asked, judges, records, options.batch_size, share)
    if made is None:
        return None
    asked = replace(asked, allow_missing=bool(pictures.missing))
    scored = score(benchmark, made, asked)
    card = make_card(
        benchmark, asked, prompts.facts(), pictures, judge_name(benchmark, judges), scored, run
    ) | {"pictures": _path_from(out, folder)}
    shown = [shown_of(benchmark, asked, record, pictures.tiles) for record in _some(made, asked)]
    write_whole(out / "card.html", card_page(card, shown, len(made)))
    write_card(out, card)
    return card


def _path_from(out: Path, folder: Path) -> str:
    return "." if out.resolve() == folder.resolve() else str(folder.resolve())


def shown_of(
    benchmark: Benchmark, asked: Asked, record: Mapping[str, Any], tiles: Mapping[tuple[int, int], Tile]
) -> Shown:
    """Return a record's picture and what was thought of it."""
    item = next(item for item in asked.items if item.index == record["item"])
    value, reason = benchmark.verdict(record, asked)
    try:
        image = tiles[record["item"], record["sample"]].open()
    except (ValueError, OSError):
        image = None
    return Shown(image, item.words, item.task or benchmark.name, value, reason)


def _some(records: Sequence[dict[str, Any]], asked: Asked) -> list[dict[str, Any]]:
    """Return at most PER_TASK records of each task, spread over it."""
    task = {item.index: item.task for item in asked.items}
    by_task: dict[str | None, list[dict[str, Any]]] = {}
    for record in records:
        by_task.setdefault(task[record["item"]], []).append(record)
    chosen = []
    for members in by_task.values():
        count = min(PER_TASK, len(members))
        chosen += [members[place * len(members) // count] for place in range(count)]
    return chosen


@dataclass(frozen=True)
class Measured:
    """A folder that was scored: its card, and what its numbers are made of."""

    card: Mapping[str, Any]
    benchmark: Benchmark
    asked: Asked
    records: Sequence[dict[str, Any]]
    pictures: Pictures
    scored: Scored


def measured(folder: Path) -> Measured:
    """Return a scored folder's card with its records, scored again.

    Raises:
        FileNotFoundError: a file of it, or its pictures, are not there.
        ValueError: the records are not those of the card.
    """
    card = read_card(folder)
    benchmark = pick("benchmark", card["benchmark"], BENCHMARKS)
    prompts = kept_prompts(folder)
    if prompts is None:
        raise FileNotFoundError(f"{folder}: expected {PROMPTS} beside the card, found none")
    files = {name: Path(file["path"]) for name, file in card["files"].items()}
    own = card["scorer"]
    options = Options(files, allow_other=True, protocol=own["protocol"], rules=own["rules"])
    asked = replace(
        asked_for(benchmark, prompts, card["images_per_prompt"], options),
        allow_missing=card["missing"] > 0,
    )
    where = folder if card["pictures"] == "." else Path(card["pictures"])
    run = read_run(where)
    layout = benchmark.layout if run is None else pick("layout", run["layout"], LAYOUTS)
    place = where if run is None else where / layout.folder
    pictures = find_pictures(layout, place, asked, allow_missing=True, allow_extra=True)
    records = _records_of(folder, card, pictures)
    return Measured(card, benchmark, asked, records, pictures, score(benchmark, records, asked))


def _records_of(folder: Path, card: Mapping[str, Any], pictures: Pictures) -> list[dict[str, Any]]:
    """Return the records that a card was made of, one for every picture."""
    same = (card["judge"], card["scorer"]["version"], card["inputs"])
    known = {
        key: record
        for key, record in Records(folder / RECORDS).read().items()
        if (key.judge, key.version, key.inputs) == same
    }
    found = {(key.item, key.sample, key.digest): record for key, record in known.items()}
    lacking = [place for place, tile in pictures.tiles.items() if (*place, tile.digest()) not in found]
    if lacking or len(pictures.tiles) != card["n"]:
        raise ValueError(
            f"{folder}: the card is of {card['n']} pictures; {len(pictures.tiles)} are there and "
            f"{len(lacking)} have no record: score the folder again"
        )
    return [found[*place, tile.digest()] for place, tile in pictures.tiles.items()]
