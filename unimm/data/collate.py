"""Rows to batches: pictures are opened and resized once, rows are padded or packed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from PIL import Image as PILImage
from torch import Tensor

from unimm.data.packing import PLACINGS, laid_out
from unimm.data.pictures import open_picture
from unimm.data.standins import Spot
from unimm.data.talks import Row, tally
from unimm.parts import Batch, Image


@dataclass(frozen=True)
class Looking:
    """Opens pictures, each once, at the size at which it is seen or drawn; squeezed to a square.

    Bytes go to the device and become numbers there: a quarter of the way for floats.
    """

    seen_size: int
    drawn_size: int

    def __call__(self, images: Sequence[Image], key: str, spot: Spot) -> list[Tensor]:
        """Return uint8 [3 S S] of each picture.

        Raises:
            BrokenSample: one cannot be opened.
        """
        sizes = [self.drawn_size if image.target else self.seen_size for image in images]
        pictures = (open_picture(image.image, key) for image in images)
        return [pixels_of(picture, size) for picture, size in zip(pictures, sizes, strict=True)]


def pixels_of(picture: PILImage.Image, size: int) -> Tensor:
    """Return uint8 [3 size size] of a picture: PIL's bilinear, which `resize_pixels` agrees with."""
    small = picture.resize((size, size), PILImage.Resampling.BILINEAR)
    return torch.from_numpy(np.array(small, dtype=np.uint8)).permute(2, 0, 1)


@dataclass
class TalkBatch:
    """A batch whose pictures may still be pixels."""

    batch: Batch
    context_pixels: Tensor | None = None
    """uint8 [I 3 S S], in the order of the context runs; None: there are none, or the latents are known."""
    target_pixels: Tensor | None = None
    """uint8 [J 3 S' S'], in the order of the query runs; None as above."""
    facts: dict[str, int] = field(default_factory=dict)
    """How many samples were skipped and cut, how many tokens stand in how many positions."""

    def to(self, device: torch.device | str) -> TalkBatch:
        """Return the same with its tensors on `device`."""
        context, target = (
            None if x is None else x.to(device, non_blocking=True)
            for x in (self.context_pixels, self.target_pixels)
        )
        return replace(self, batch=self.batch.to(device), context_pixels=context, target_pixels=target)


def batch_of_rows(rows: Sequence[Row], pad: int, row_length: int, is_packed: bool) -> TalkBatch:
    """Return rows as one batch; pictures that were fetched as latents stand in it, others beside it.

    Args:
        rows: in the order of their positions.
        pad: id of the padding.
        row_length: positions of a packed row; no sample is longer.
        is_packed: several samples to a row, or one.
    """
    rendered = [row.rendered for row in rows]
    places = PLACINGS[is_packed]([len(row.ids) for row in rendered], row_length)
    context, target = (_pictures(rows, wanted) for wanted in (False, True))
    batch = laid_out(rendered, places, pad, _latents(context), _latents(target))
    tokens = sum(len(row.ids) for row in rendered)
    facts = {**tally(rows), "tokens": tokens, "positions": batch.input_ids.numel()}
    return TalkBatch(batch, _pixels(context), _pixels(target), facts)


def _pictures(rows: Sequence[Row], target: bool) -> Tensor | None:
    found = [
        picture
        for row in rows
        for slots, picture in zip(row.rendered.runs, row.pictures, strict=True)
        if slots.target == target
    ]
    return torch.stack(found) if found else None


def _latents(pictures: Tensor | None) -> Tensor | None:
    return pictures if pictures is not None and pictures.is_floating_point() else None


def _pixels(pictures: Tensor | None) -> Tensor | None:
    return None if pictures is None or pictures.is_floating_point() else pictures
