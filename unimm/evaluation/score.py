"""Pictures to records to numbers: each picture is judged once, whatever interrupts it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL.Image import Image

from unimm.evaluation.bench.benchmark import Asked, Benchmark
from unimm.evaluation.bench.items import Item
from unimm.evaluation.bench.layouts import Found, Layout, Place
from unimm.evaluation.generate import Share
from unimm.evaluation.records import Key, Records
from unimm.evaluation.scored import Scored
from unimm.evaluation.scorers import SCORERS
from unimm.evaluation.scorers.records import some
from unimm.evaluation.store import stage
from unimm.evaluation.tiles import Tile, tile_size


@dataclass(frozen=True)
class Pictures:
    """What lies in a folder: a picture per place, and what is not as it should be."""

    tiles: Mapping[Place, Tile]
    missing: Mapping[str, int]
    """What is not there, and how many pictures that is."""
    extra: tuple[str, ...]

    def sizes(self) -> list[str]:
        """Return every resolution there is, the most common first, such as "512x512"."""
        found = Counter(tile_size(tile) for tile in self.tiles.values())
        return [f"{size[0]}x{size[1]}" for size, _ in found.most_common() if size is not None]


def find_pictures(
    layout: Layout, folder: Path, asked: Asked, allow_missing: bool = False, allow_extra: bool = False
) -> Pictures:
    """Return the pictures of a folder in a benchmark's layout.

    Tiles of grids must have one size, the most common one; a grid of another size is one that fails.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: pictures are missing, or there are more than there should be, and that is not allowed; or
            none is there at all.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder of pictures at {folder}")
    layout.check(asked.samples)
    found = layout.find(folder, asked.items, asked.samples)
    _refuse(found, folder, allow_missing, allow_extra)
    return Pictures(_of_one_size(found.tiles), found.missing, tuple(found.extra))


def _refuse(found: Found, folder: Path, allow_missing: bool, allow_extra: bool) -> None:
    odd = f"; of no prompt are {some(found.extra)}" if found.extra else ""
    if not found.tiles:
        raise ValueError(
            f"{folder}: expected pictures such as {some(list(found.missing))}, found none of them{odd}"
        )
    if found.missing and not allow_missing:
        raise ValueError(
            f"{folder}: {sum(found.missing.values())} pictures are missing: {some(list(found.missing))}{odd}"
            "; --allow-missing scores what is there and says how much"
        )
    if found.extra and not allow_extra:
        raise ValueError(
            f"{folder}: {len(found.extra)} files or folders belong to no prompt: {some(found.extra)}; "
            "--allow-extra leaves them out and says how many"
        )


def _of_one_size(tiles: Mapping[Place, Tile]) -> dict[Place, Tile]:
    sizes = {place: tile_size(tile) for place, tile in tiles.items() if tile.part is not None}
    known = Counter(size for size in sizes.values() if size is not None)
    if not known:
        return dict(tiles)
    common = known.most_common(1)[0][0]
    return {place: replace(tile, size=common) for place, tile in tiles.items()}


def judge_name(benchmark: Benchmark, judges: Mapping[str, Any]) -> str:
    """Return what stands in the metric's key: the judges' names, each once."""
    return "+".join(dict.fromkeys(judges[role].name for role in benchmark.roles))


def judge(
    benchmark: Benchmark,
    pictures: Pictures,
    asked: Asked,
    judges: Mapping[str, Any],
    records: Records,
    batch_size: int = 8,
    share: Share | None = None,
) -> list[dict[str, Any]] | None:
    """Return the records of all pictures in order, after judging those that have none yet.

    A picture that cannot be opened, or has the wrong size, gets a record that says so.

    Args:
        benchmark: which questions are put to the judges.
        pictures: of `find_pictures`.
        asked: the prompts, and what judging needs besides.
        judges: by role.
        records: the file, which grows by a batch at a time.
        batch_size: pictures judged together.
        share: which part of the lacking ones is this process's; all of them if none is given.

    Returns:
        None if another process has not judged its share yet.

    Raises:
        ValueError: a record is in the file twice.
    """
    name, version = judge_name(benchmark, judges), SCORERS[benchmark.scorer].version
    keys = {
        place: Key(*place, tile.digest(), name, version, asked.inputs)
        for place, tile in pictures.tiles.items()
    }
    known, share = records.read(), share or Share()
    mine = list(keys)[share.rank :: share.world_size]  # the same whatever is judged already
    lacking = [place for place in mine if keys[place] not in known]
    items = {item.index: item for item in asked.items}
    with stage(f"judging for {benchmark.name}", len(lacking)) as advance:
        for start in range(0, len(lacking), batch_size):
            places = lacking[start : start + batch_size]
            made = _judged(benchmark, places, pictures.tiles, items, judges, asked)
            records.append([{**keys[place]._asdict(), **made[place]} for place in places])
            advance(len(places))
    known = records.read()
    if any(key not in known for key in keys.values()):
        return None
    return [known[key] for key in keys.values()]


def _judged(
    benchmark: Benchmark,
    places: Sequence[Place],
    tiles: Mapping[Place, Tile],
    items: Mapping[int, Item],
    judges: Mapping[str, Any],
    asked: Asked,
) -> dict[Place, dict[str, Any]]:
    opened: dict[Place, Image] = {}
    made: dict[Place, dict[str, Any]] = {}
    for place in places:
        try:
            opened[place] = tiles[place].open()
        except (ValueError, OSError) as error:
            made[place] = {"failed": " ".join(str(error).split())}
    if opened:
        said = benchmark.judge(list(opened.values()), [items[index] for index, _ in opened], judges, asked)
        made |= dict(zip(opened, said, strict=True))
    return made


def score(benchmark: Benchmark, records: Sequence[Mapping[str, Any]], asked: Asked) -> Scored:
    """Return what the benchmark's rules make of the records.

    Raises:
        ValueError: an unknown protocol, or records that the rules cannot read.
    """
    collected, options = benchmark.collect(records, asked)
    return SCORERS[benchmark.scorer].score(collected, protocol_of(benchmark, asked), **options)


def protocol_of(benchmark: Benchmark, asked: Asked) -> str:
    """Return the name of the rules: what was asked for, what fits the prompts, or the scorer's default."""
    named = asked.protocol or benchmark.protocol(asked.known)
    return named or next(iter(SCORERS[benchmark.scorer].protocols))
