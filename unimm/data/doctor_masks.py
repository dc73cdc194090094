"""Label masks to look at: which words of a sample are trained on, and where its pictures stand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from transformers import PreTrainedTokenizerFast

from unimm.data.samples import Sample
from unimm.parts import IGNORED
from unimm.text.chat import Rendered, render

GIVEN, LEARNT, SEEN, DRAWN = "given", "learnt", "seen", "drawn"
KINDS = {
    GIVEN: "given, no loss",
    LEARNT: "learnt: cross entropy",
    SEEN: "a picture that is seen",
    DRAWN: "a picture to draw: flow loss",
}


@dataclass(frozen=True)
class Piece:
    """Neighbouring tokens of one kind."""

    text: str
    """Printable; a picture's slots are told by their number."""
    kind: str
    tokens: int


Mask = tuple[Piece, ...]


def mask_of(sample: Sample, tokenizer: PreTrainedTokenizerFast, num_slots: int) -> Mask:
    """Return a sample's tokens in pieces of one kind, by the chat template and label rule of training."""
    row = render(sample.turns, tokenizer, num_slots)
    return tuple(_piece(row, tokenizer, start, stop, kind) for start, stop, kind in _pieces(row))


def _pieces(row: Rendered) -> Iterator[tuple[int, int, str]]:
    # Marks stand between any two pictures, so their slots never touch.
    kinds = [GIVEN if label == IGNORED else LEARNT for label in row.labels]
    for run in row.runs:
        kinds[run.start : run.start + run.length] = [DRAWN if run.target else SEEN] * run.length
    start = 0
    for place in range(1, len(kinds) + 1):
        if place == len(kinds) or kinds[place] != kinds[start]:
            yield start, place, kinds[start]
            start = place


def _piece(row: Rendered, tokenizer, start: int, stop: int, kind: str) -> Piece:
    if kind in (SEEN, DRAWN):
        word = "seen" if kind == SEEN else "to draw"
        return Piece(f"[picture {word}, {stop - start} tokens]", kind, stop - start)
    return Piece(printable(tokenizer.decode(row.ids[start:stop])), kind, stop - start)


def printable(text: str) -> str:
    """Return words without characters that could move a terminal's cursor or turn a line around."""
    return "".join(
        each if each.isprintable() or each == "\n" else "\N{REPLACEMENT CHARACTER}" for each in text
    )
