"""The conversation in the terminal: commands, pictures in and out, mistakes that do not end it."""

from __future__ import annotations

import pytest
from PIL import Image

from unimm.app.terminal import Terminal
from unimm.model.responding import DoneEvent, ImageEvent, TokenEvent


@pytest.fixture
def terminal(random_model, tmp_path) -> Terminal:
    return Terminal(random_model, tmp_path, seed=3, max_new_tokens=4, num_inference_steps=1)


def lines(*spoken: str):
    """Return a reader that gives these lines and then ends, as Ctrl-D does."""
    waiting = list(spoken)

    def read(prompt: str) -> str:
        if not waiting:
            raise EOFError
        return waiting.pop(0)

    return read


def test_words_are_answered_and_remembered(terminal, capsys):
    terminal.run(lines("Describe a star", "And a heart"))
    assert capsys.readouterr().out.count("model: ") == 2
    assert [message["role"] for message in terminal.conversation.messages] == ["user", "assistant"] * 2
    assert terminal.seed == 5


def test_undo_takes_the_last_exchange_back(terminal, capsys):
    terminal.run(lines("one", "two", "/undo"))
    assert len(terminal.conversation.messages) == 2
    assert "taken back" in capsys.readouterr().out


def test_quit_leaves_the_rest_unsaid(terminal):
    terminal.run(lines("/quit", "never said"))
    assert terminal.conversation.messages == []


def test_a_picture_goes_with_the_next_words(terminal, tmp_path):
    path = tmp_path / "shown.png"
    Image.new("RGB", (20, 20), "red").save(path)
    terminal.run(lines(f"/image {path}", "What is it?", "And now?"))
    first, _, second, _ = terminal.conversation.messages
    assert [part["type"] for part in first["content"]] == ["image", "text"]
    assert [part["type"] for part in second["content"]] == ["text"]


def test_a_drawn_picture_is_written_and_named(terminal, tmp_path, capsys, monkeypatch):
    picture = Image.new("RGB", (8, 8), "blue")
    reply = [TokenEvent("Here: "), ImageEvent(picture, None), DoneEvent({}, "stop")]
    monkeypatch.setattr(terminal.conversation, "stream", lambda *content, **options: iter(reply))
    terminal.run(lines("Draw", "Again"))
    said = capsys.readouterr().out
    for name in ("drawing-1.png", "drawing-2.png"):
        assert (tmp_path / name).exists()
        assert name in said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/imag cat.png", "/imag: expected one of /image, /undo"),
        ("/image", "expected the path"),
        ("/image missing.png", "missing.png"),
        ("/undo", "nothing to take back|the conversation has none"),
        ("word " * 3000, "expected at most 2048"),
    ],
)
def test_a_mistake_is_told_and_the_conversation_goes_on(terminal, capsys, line, said):
    terminal.run(lines(line, "hello"))
    out = capsys.readouterr().out
    assert any(part in out for part in said.split("|"))
    assert "Traceback" not in out
    assert len(terminal.conversation.messages) == 2


def test_an_empty_line_says_nothing(terminal):
    terminal.run(lines("", "   "))
    assert terminal.conversation.messages == []
