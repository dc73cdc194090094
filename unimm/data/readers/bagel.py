"""BAGEL's parquet: pictures with captions, and chains of edited pictures.

https://github.com/ByteDance-Seed/Bagel (data/): `image`, `captions`, a JSON string of names and captions;
or `image_list` and `instruction_list`, whose entry i, a list of wordings, leads from picture i to i + 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unimm.data.readers.fields import Roots, field, listed, parsed, picture_of, shown, worded
from unimm.data.readers.llava import roots
from unimm.data.readers.rows import Files, RowSource, called
from unimm.data.readers.tables import tables
from unimm.data.readers.turning import PLACE, TASKS, captioned, check_template, turn
from unimm.data.samples import BrokenSample, Sample
from unimm.parts import Image, Turn
from unimm.tables import expect_known


@dataclass(frozen=True)
class CaptionedRow:
    """Reads a picture with its captions."""

    roots: Roots
    task: str
    template: str

    def __call__(self, row: Mapping[str, Any], key: str) -> Sample:
        picture = picture_of(field(row, "image", key), "image", key, self.roots)
        text = field(row, "captions", key)
        captions = (
            text if isinstance(text, Mapping) else parsed(worded(text, "captions", key), "captions", key)
        )
        if not isinstance(captions, Mapping) or not captions:
            raise BrokenSample(
                key, f"captions: expected an object of names and captions, got {shown(captions)}"
            )
        checked = {name: worded(each, f"captions.{name}", key) for name, each in captions.items()}
        return captioned(key, picture, checked, self.task, self.template)


@dataclass(frozen=True)
class EditRow:
    """Reads a chain of edits: the first picture is seen, each further one drawn on request."""

    roots: Roots

    def __call__(self, row: Mapping[str, Any], key: str) -> Sample:
        found = listed(field(row, "image_list", key), "image_list", key)
        pictures = [picture_of(each, f"image_list[{i}]", key, self.roots) for i, each in enumerate(found)]
        steps = listed(field(row, "instruction_list", key), "instruction_list", key)
        if not steps or len(steps) != len(pictures) - 1:
            reason = (
                f"expected an instruction between each two pictures, got {len(steps)} for {len(pictures)}"
            )
            raise BrokenSample(key, reason, "markers")
        options = [self._options(each, f"instruction_list[{i}]", key) for i, each in enumerate(steps)]
        wordings = {
            str(number): self._turns(pictures, [said[number % len(said)] for said in options])
            for number in range(max(map(len, options)))
        }
        return Sample(wordings["0"], key, wordings)

    def _options(self, value: Any, name: str, key: str) -> list[str]:
        """Return the wordings of one step; a plain string is one."""
        options = [value] if isinstance(value, str) else listed(value, name, key)
        if not options:
            raise BrokenSample(key, f"{name}: expected at least one wording, got none")
        return [worded(each, f"{name}[{i}]", key) for i, each in enumerate(options)]

    def _turns(self, pictures: Sequence[Any], requests: Sequence[str]) -> tuple[Turn, ...]:
        turns = []
        for number, (request, drawn) in enumerate(zip(requests, pictures[1:], strict=True)):
            seen = [Image(pictures[0])] if not number else []
            turns += [turn("user", *seen, request), turn("assistant", Image(drawn, target=True))]
        return tuple(turns)


def open_bagel_t2i(
    paths: Files,
    cache: Path | None = None,
    images: Sequence[Path] | None = None,
    task: str = "draw",
    template: str = PLACE,
) -> RowSource:
    """Open BAGEL's pictures and captions; every caption is a wording, and the prompt is the bare caption.

    Raises:
        ValueError: files of another kind, another task, or a template without a place for the caption.
    """
    expect_known("task", task, TASKS)
    read = CaptionedRow(roots(paths, images, cache), task, check_template(template))
    return RowSource(called(paths), tables(paths, cache), read)


def open_bagel_edit(
    paths: Files, cache: Path | None = None, images: Sequence[Path] | None = None
) -> RowSource:
    """Open BAGEL's edits; a row's wordings take the first wording of every step, the second, and so on.

    Raises:
        ValueError: files of another kind.
    """
    return RowSource(called(paths), tables(paths, cache), EditRow(roots(paths, images, cache)))
