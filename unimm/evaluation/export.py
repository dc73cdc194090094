"""A run's pictures in the layout of an official script, byte for byte where a picture is a file."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from unimm.evaluation.bench.geneval import check_metadata
from unimm.evaluation.bench.items import Item
from unimm.evaluation.bench.kept import kept_prompts
from unimm.evaluation.bench.layouts import IMAGES, LAYOUTS, Layout
from unimm.evaluation.run import read_run
from unimm.evaluation.scorers.records import some
from unimm.evaluation.tiles import whole
from unimm.tables import pick


def _needs_metadata(items: Sequence[Item]) -> None:
    for item in items:
        check_metadata(item.facts, f"--to geneval: prompt {item.name}")


def _needs_different(items: Sequence[Item]) -> None:
    twice = [prompt for prompt, count in Counter(item.prompt for item in items).items() if count > 1]
    if twice:
        raise ValueError(
            f"--to geneval2: its script finds pictures by their prompts; expected every prompt once, got "
            f"several times {some(twice)}"
        )


def _needs_nothing(items: Sequence[Item]) -> None:
    """Any prompts will do: files are named after them."""


TARGETS: Mapping[str, Callable[[Sequence[Item]], None]] = {
    "geneval": _needs_metadata,
    "dpg": _needs_nothing,
    "wise": _needs_nothing,
    "geneval2": _needs_different,
}
"""Layouts that official scripts read, and what they ask of prompts."""


def export(run: Path, to: str, out: Path) -> int:
    """Copy a run's pictures into a layout; return how many pictures were copied.

    The folder holds what the official script is given: for "geneval" the folders of prompts, for the others
    <name>.png.

    Args:
        run: a run of ours, complete.
        to: the layout.
        out: a folder that is not there yet.

    Raises:
        FileNotFoundError: no run there.
        FileExistsError: `out` is there.
        ValueError: an unknown layout, one that cannot hold these prompts or so many pictures, or a picture
            that is missing or broken.
    """
    check = pick("--to", to, TARGETS)
    facts, prompts = read_run(run), kept_prompts(run)
    if facts is None or prompts is None:
        raise FileNotFoundError(f"{run}: expected a run of ours (run.json and prompts.json), found none")
    check(prompts.items)
    source, target, samples = LAYOUTS[facts["layout"]], LAYOUTS[to], facts["samples"]
    target.check(samples)
    if out.exists():
        raise FileExistsError(f"{out}: it is there already; choose another name")
    _refuse_holes(run, source, prompts.items, samples)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _copy(run, source, partial, target, prompts.items, samples)
        (partial / IMAGES).rename(out)
        target.close(out, out, prompts.items)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return len(prompts.items) * samples


def _refuse_holes(run: Path, layout: Layout, items: Sequence[Item], samples: int) -> None:
    names = [layout.sample(item, sample) for item in items for sample in range(samples)]
    broken = [name for name in names if not whole(run / name)]
    if broken:
        raise ValueError(
            f"{run}: {len(broken)} pictures are missing or broken: {some(broken)}; draw them first: the same "
            "`unimm eval generate` goes on where it stopped"
        )


def _copy(
    run: Path, source: Layout, place: Path, target: Layout, items: Sequence[Item], samples: int
) -> None:
    for item in items:
        for sample in range(samples):
            path = place / target.sample(item, sample)
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(run / source.sample(item, sample), path)
        target.finish(place, item, samples)
