"""BLIP3-o's tars, and any WebDataset of pictures and captions: `<key>.jpg`, `<key>.txt`, maybe `<key>.json`.

https://huggingface.co/datasets/BLIP3o/BLIP3o-Pretrain-Long-Caption; cc12m-wds has the same layout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unimm.data.pictures import ImageRef, read_picture
from unimm.data.readers.fields import decoded, field, parsed, worded
from unimm.data.readers.rows import RowSource, called
from unimm.data.readers.tars import Tars
from unimm.data.readers.turning import TASKS, captioned, check_template
from unimm.data.samples import BrokenSample, Sample
from unimm.tables import expect_known

TEMPLATE = "Please generate image based on the following caption: {caption}"
"""BLIP3-o's."""

PICTURES = ("jpg", "jpeg", "png", "webp")


@dataclass(frozen=True)
class CaptionRow:
    """Reads a row of a tar: a picture and its caption."""

    template: str = TEMPLATE
    task: str = "draw"
    json_captions: tuple[str, ...] = ()

    def __call__(self, fields: Mapping[str, ImageRef], key: str) -> Sample:
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
) -> RowSource:
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
    read = CaptionRow(check_template(template), task, tuple(json_captions))
    return RowSource(called(paths), Tars(paths, cache), read)
