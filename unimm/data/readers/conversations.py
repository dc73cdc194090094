"""LLaVA's conversations as turns: `from`, `value`, and `<image>` where a picture stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from unimm.data.pictures import Stored
from unimm.data.readers.fields import field, listed, plain, shown
from unimm.data.samples import BrokenSample
from unimm.parts import Image, Part, Text, Turn

MARKER = "<image>"
ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bard": "assistant",
    "bing": "assistant",
    "system": "system",
}
"""Who speaks, in LLaVA's data and in ShareGPT's, from which its text comes."""

Said = list[tuple[str, str]]
"""Role and words of each turn."""


def said_in(conversations: Any, name: str, key: str) -> Said:
    """Return role and words of each turn of a conversation.

    Raises:
        BrokenSample: another schema, an unknown speaker, or nothing that an assistant says.
    """
    said = [_said(entry, f"{name}[{i}]", key) for i, entry in enumerate(listed(conversations, name, key))]
    if not any(role == "assistant" for role, _ in said):
        raise BrokenSample(key, f"{name}: expected a reply from 'gpt', got {[role for role, _ in said]}")
    return said


def _said(entry: Any, where: str, key: str) -> tuple[str, str]:
    try:
        speaker, value = field(entry, "from", key), field(entry, "value", key)
    except BrokenSample as broken:
        raise BrokenSample(key, f"{where}: {broken.reason}") from None
    return role_of(speaker, f"{where}.from", key), plain(value, f"{where}.value", key)


def role_of(speaker: Any, where: str, key: str) -> str:
    """Return the role of a speaker.

    Raises:
        BrokenSample: nobody who is known.
    """
    if not isinstance(speaker, str) or speaker not in ROLES:
        raise BrokenSample(key, f"{where}: expected one of {', '.join(ROLES)}, got {shown(speaker)}")
    return ROLES[speaker]


def refuse_unmarked(said: Said, num_images: int) -> Said:
    """Leave it: a picture without its marker is a disagreement."""
    return said


def mark_first(said: Said, num_images: int) -> Said:
    """Put the marks of pictures that have none before the first turn, as Scale-RAE's reader does."""
    if any(MARKER in words for _, words in said):
        return said
    return [(said[0][0], f"{MARKER}\n" * num_images + said[0][1]), *said[1:]]


UNMARKED: dict[str, Callable[[Said, int], Said]] = {"refuse": refuse_unmarked, "first": mark_first}
"""What happens to pictures whose conversation has no marker at all."""


def turns_of(said: Said, images: Sequence[Stored], key: str) -> tuple[Turn, ...]:
    """Return turns with the pictures in the markers' places: seen, or to be drawn where the assistant shows.

    Line breaks around a marker belong to it; all else is kept.

    Raises:
        BrokenSample: another number of markers than of pictures, or a turn with nothing in it.
    """
    marked = sum(words.count(MARKER) for _, words in said)
    if marked != len(images):
        reason = (
            f"expected a marker {MARKER} for each picture, got {marked} markers and {len(images)} pictures"
        )
        raise BrokenSample(key, reason, "markers")
    waiting = iter(images)
    turns = tuple(Turn(role, tuple(marked_parts(role, words, waiting))) for role, words in said)
    if empty := [number for number, turn in enumerate(turns) if not turn.parts]:
        raise BrokenSample(key, f"conversations[{empty[0]}].value: expected words, got none", "text")
    return turns


def marked_parts(role: str, words: str, images: Iterator[Stored]) -> list[Part]:
    """Return words and the pictures in their markers' places; `images` gives the next one for each."""
    pieces, parts = words.split(MARKER), []
    for number, piece in enumerate(pieces):
        if number:
            parts.append(Image(next(images), target=role == "assistant"))
            piece = piece.lstrip("\n")
        if number < len(pieces) - 1:
            piece = piece.rstrip("\n")
        if piece.strip():
            parts.append(Text(piece))
    return parts
