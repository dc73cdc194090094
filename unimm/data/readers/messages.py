"""Chat messages, as Hugging Face and OpenAI write them: `messages` with roles and typed content parts.

Pictures are parts (`{"type": "image", "image": ...}`, or an empty one that takes the next of the row's
`images`), or `<image>` in the words (ms-swift, Nexus-Gen). A picture that the assistant shows is to be drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unimm.data.pictures import Stored
from unimm.data.readers.conversations import marked_parts, role_of
from unimm.data.readers.fields import Roots, field, listed, picture_of, plain, shown, worded
from unimm.data.readers.llava import roots
from unimm.data.readers.rows import Files, RowSource, called
from unimm.data.readers.tables import tables
from unimm.data.samples import BrokenSample, Sample
from unimm.parts import Image, Part, Text, Turn

ITEM_KEYS = ("image", "image_url", "path", "url", "bytes")
"""Where an image part may have its picture."""


@dataclass(frozen=True)
class MessageRow:
    """Reads a row with `messages` and maybe `images`."""

    roots: Roots

    def __call__(self, row: Mapping[str, Any], key: str) -> Sample:
        messages = listed(field(row, "messages", key), "messages", key)
        beside = row.get("images")
        beside = [] if beside is None else listed(beside, "images", key)
        images = [picture_of(each, f"images[{i}]", key, self.roots) for i, each in enumerate(beside)]
        asked = _Asked(iter(images), self.roots, key)
        turns = tuple(asked.turn(message, f"messages[{i}]") for i, message in enumerate(messages))
        if asked.number != len(images):
            reason = (
                f"expected a place for each of the row's images, got {asked.number} places and {len(images)}"
            )
            raise BrokenSample(key, f"{reason} images", "markers")
        if not any(turn.role == "assistant" for turn in turns):
            raise BrokenSample(key, f"messages: expected a reply, got {[turn.role for turn in turns]}")
        return Sample(turns, key)


class _Asked:
    """Turns messages into turns and counts the pictures that they take from the row."""

    def __init__(self, images: Iterator[Stored], roots: Roots, key: str):
        self.images, self.roots, self.key, self.number = images, roots, key, 0

    def turn(self, message: Any, where: str) -> Turn:
        role = role_of(field(message, "role", self.key), f"{where}.role", self.key)
        content = field(message, "content", self.key)
        if isinstance(content, str):
            words = plain(content, f"{where}.content", self.key)
            parts = marked_parts(role, words, iter(self._next, None))
        else:
            items = enumerate(listed(content, f"{where}.content", self.key))
            parts = [part for i, item in items for part in self._item(item, role, f"{where}.content[{i}]")]
        if not parts:
            raise BrokenSample(self.key, f"{where}.content: expected words or pictures, got none", "text")
        return Turn(role, tuple(parts))

    def _item(self, item: Any, role: str, where: str) -> list[Part]:
        kind = field(item, "type", self.key)
        if kind == "text":
            return [Text(worded(field(item, "text", self.key), f"{where}.text", self.key))]
        if kind not in ("image", "image_url"):
            raise BrokenSample(self.key, f"{where}.type: expected text or image, got {shown(kind)}")
        held = next((item[name] for name in ITEM_KEYS if item.get(name) is not None), None)
        if isinstance(held, Mapping) and "url" in held:
            held = held["url"]
        if isinstance(held, str) and held.startswith(("http:", "https:", "data:")):
            raise BrokenSample(self.key, f"{where}: expected a local picture, got {shown(held)}", "missing")
        stored = self._next() if held is None else picture_of(held, where, self.key, self.roots)
        return [Image(stored, target=role == "assistant")]

    def _next(self) -> Stored:
        """Return the row's next picture; one too few is told when all places are counted."""
        self.number += 1
        return next(self.images, b"")


def open_messages(paths: Files, cache: Path | None = None, images: Sequence[Path] | None = None) -> RowSource:
    """Open JSON lines, JSON lists, parquet or a saved data set of chat messages.

    Args:
        paths: the files.
        cache: where indexes are kept.
        images: folders, or tars, that the rows' paths are in; by default the folder of the first file.

    Raises:
        ValueError: files of another kind.
    """
    return RowSource(called(paths), tables(paths, cache), MessageRow(roots(paths, images, cache)))
