"""BLIP3-o's tars, and any WebDataset of pictures and captions: `<key>.jpg`, `<key>.txt`, maybe `<key>.json`.

https://huggingface.co/datasets/BLIP3o/BLIP3o-Pretrain-Long-Caption; cc12m-wds has the same layout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unimm.data.pictures import ImageRef, read_picture
from unimm.data.readers.fields import decoded, field, parsed, worded
from unimm.data.readers.tars import Tars
from unimm.data.readers.turning import TASKS, captioned, check_template
from unimm.data.samples import BrokenSample, Sample, expect_place
from unimm.tables import expect_known

TEMPLATE = "Please generate image based on the following caption: {caption}"
"""BLIP3-o's."""

PICTURES = ("jpg", "jpeg", "png", "webp")


@dataclass(frozen=True)
class CaptionTars:
    """Rows of tars with a picture and its caption."""

    name: str
    tars: Tars
    template: str = TEMPLATE
    task: str = "draw"
    json_captions: tuple[str, ...] = ()
    random_access = True

    @property
    def shards(self) -> tuple[int, ...]:
        return self.tars.shards

    @property
    def faults(self) -> tuple[str, ...]:
        return self.tars.faults

    def __len__(self) -> int:
        return sum(self.shards)

    def __getitem__(self, place: tuple[int, int]) -> Sample:
        expect_place(self.shards, place)
        tar = self.tars.open(place[0])
        key, fields = tar.key(place[1]), tar.fields(place[1])
        return captioned(key, picture_in(fields, key), self._captions(fields, key), self.task, self.template)

    def _captions(self, fields: Mapping[str, ImageRef], key: str) -> dict[str, str]:
        if "txt" not in fields:
            raise BrokenSample(key, f"expected a caption .txt, got {', '.join(fields)}", "missing")
        captions = {"txt": decoded(read_picture(fields["txt"], key), "caption", key)}
        if self.json_captions:
            if "json" not in fields:
                raise BrokenSample(key, f"expected a .json, got {', '.join(fields)}", "missing")
            facts = parsed(read_picture(fields["json"], key), "json", key)
            captions |= {name: worded(field(facts, name, key), name, key) for name in self.json_captions}
        return captions


def picture_in(fields: Mapping[str, ImageRef], key: str) -> ImageRef:
    """Return the one picture among the fields of a row.

    Raises:
        BrokenSample: none, or two.
    """
    found = [name for name in fields if name in PICTURES]
    if len(found) != 1:
        kind = "schema" if found else "missing"
        raise BrokenSample(key, f"expected one of .{', .'.join(PICTURES)}, got {', '.join(fields)}", kind)
    return fields[found[0]]


def open_blip3o(
    paths: Sequence[Path],
    cache: Path | None = None,
    template: str = TEMPLATE,
    task: str = "draw",
    json_captions: Sequence[str] = (),
) -> CaptionTars:
    """Open tars of pictures and captions.

    Args:
        paths: the tars, a shard each.
        cache: where indexes are kept.
        template: the request, with "{caption}".
        task: one of `TASKS`.
        json_captions: keys of `<key>.json` that hold further captions; each is a wording beside "txt".

    Raises:
        ValueError: no tars, another task, or a template without a place for the caption.
    """
    expect_known("task", task, TASKS)
    name = paths[0].parent.name if len(paths) > 1 else paths[0].name
    return CaptionTars(name, Tars(paths, cache), check_template(template), task, tuple(json_captions))
