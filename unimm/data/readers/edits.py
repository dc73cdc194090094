"""Shown pictures, an instruction, a drawn picture: MetaQuery-Instruct, OmniEdit, ShareGPT-4o-Image.

https://huggingface.co/datasets/xcpan/MetaQuery_Instruct_2.4M_512res: source_images, target_image, prompt.
https://huggingface.co/datasets/TIGER-Lab/OmniEdit-Filtered-1.2M: src_img, edited_img, edited_prompt_list.
https://huggingface.co/datasets/FreedomIntelligence/ShareGPT-4o-Image: input_prompt, input_image,
output_image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unimm.data.pictures import Stored
from unimm.data.readers.fields import Roots, field, listed, picture_of, worded
from unimm.data.readers.llava import roots
from unimm.data.readers.rows import Files, RowSource, called
from unimm.data.readers.tables import tables
from unimm.data.readers.turning import PLACE, check_template, edit
from unimm.data.samples import BrokenSample, Sample


@dataclass(frozen=True)
class Columns:
    """What a data set calls the pictures shown, the instruction and the picture drawn."""

    shown: str
    instruction: str
    drawn: str
    optional: bool = False
    """Whether rows may show nothing."""


METAQUERY = Columns("source_images", "prompt", "target_image")
OMNIEDIT = Columns("src_img", "edited_prompt_list", "edited_img")
SHAREGPT4O = Columns("input_image", "input_prompt", "output_image", optional=True)


@dataclass(frozen=True)
class InstructedRow:
    """Reads a row by its columns."""

    columns: Columns
    roots: Roots
    template: str

    def __call__(self, row: Mapping[str, Any], key: str) -> Sample:
        drawn = picture_of(field(row, self.columns.drawn, key), self.columns.drawn, key, self.roots)
        wordings = {
            name: edit(self._shown(row, key), said, drawn, self.template)
            for name, said in self._instructions(row, key).items()
        }
        return Sample(next(iter(wordings.values())), key, wordings)

    def _shown(self, row: Mapping[str, Any], key: str) -> list[Stored]:
        name = self.columns.shown
        if self.columns.optional and row.get(name) is None:
            return []
        value = field(row, name, key)
        many = [value] if isinstance(value, str | bytes | Mapping) else listed(value, name, key)
        if not many:
            raise BrokenSample(key, f"{name}: expected at least one picture, got none", "markers")
        return [picture_of(each, f"{name}[{i}]", key, self.roots) for i, each in enumerate(many)]

    def _instructions(self, row: Mapping[str, Any], key: str) -> dict[str, str]:
        """Return the wordings; of a list the last comes first, which OmniEdit itself uses."""
        name = self.columns.instruction
        value = field(row, name, key)
        if isinstance(value, str) or not hasattr(value, "__len__"):
            return {"0": worded(value, name, key)}
        many = listed(value, name, key)
        if not many:
            raise BrokenSample(key, f"{name}: expected at least one instruction, got none", "text")
        last = len(many) - 1
        return {str(i): worded(many[i], f"{name}[{i}]", key) for i in (last, *range(last))}


def _opened(
    columns: Columns,
    paths: Files,
    cache: Path | None,
    images: Sequence[Path] | None,
    template: str,
) -> RowSource:
    read = InstructedRow(columns, roots(paths, images, cache), check_template(template))
    return RowSource(called(paths), tables(paths, cache), read)


def open_metaquery(
    paths: Files,
    cache: Path | None = None,
    images: Sequence[Path] | None = None,
    template: str = PLACE,
) -> RowSource:
    """Open MetaQuery-Instruct: pictures seen, a request, a picture drawn. The request stands as it is.

    Raises:
        ValueError: files of another kind, or a template without a place for the request.
    """
    return _opened(METAQUERY, paths, cache, images, template)


def open_omniedit(
    paths: Files,
    cache: Path | None = None,
    images: Sequence[Path] | None = None,
    template: str = PLACE,
) -> RowSource:
    """Open OmniEdit. Of its instructions the last is the default; all are wordings, named by their place.

    Raises:
        ValueError: files of another kind, or a template without a place for the instruction.
    """
    return _opened(OMNIEDIT, paths, cache, images, template)


def open_sharegpt4o(
    paths: Files,
    cache: Path | None = None,
    images: Sequence[Path] | None = None,
    template: str = PLACE,
) -> RowSource:
    """Open ShareGPT-4o-Image: text_to_image.json and text_and_image_to_image.json, one of them or both.

    Args:
        paths: the JSON files.
        cache: where indexes are kept.
        images: where the pictures are: folders, or tars; by default the JSON's folder and the tars in it.
        template: the request, with "{caption}" for the row's prompt.

    Raises:
        ValueError: files of another kind, or a template without a place for the prompt.
    """
    if images is None and isinstance(paths, Sequence):
        images = [paths[0].parent, *sorted(paths[0].parent.glob("*.tar"))]
    return _opened(SHAREGPT4O, paths, cache, images, template)
