"""Streamed words add up to the whole text, and no half character is ever shown."""

from __future__ import annotations

import pytest

from tests.model.small import small_tokenizer
from unimm.text.stream import UNFINISHED, TextStream
from unimm.text.tokenizer import encode


@pytest.mark.parametrize("text", ["two red circles", "a 🎨 and 漢字", " leading", "line\nline"])
def test_pieces_add_up_and_are_never_taken_back(text):
    stream, pieces = TextStream(small_tokenizer()), []
    for token in encode(small_tokenizer(), text):
        pieces.append(stream.push(token))
        assert text.startswith("".join(pieces))
    assert "".join(pieces) + stream.flush() == text
    assert UNFINISHED not in "".join(pieces)


def test_flush_shows_half_a_character_and_starts_afresh():
    stream = TextStream(small_tokenizer())
    for token in encode(small_tokenizer(), "🎨")[:2]:
        assert stream.push(token) == ""
    assert UNFINISHED in stream.flush()
    assert stream.flush() == ""
    assert stream.push(encode(small_tokenizer(), "a")[0]) == "a"
