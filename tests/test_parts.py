"""Messages in the common format become turns; what is no message is refused with its place."""

from __future__ import annotations

import pytest
import torch

from unimm.parts import Image, Text, Turn, from_messages


def test_strings_and_parts_become_turns():
    latents = torch.zeros(2, 3)
    turns = from_messages(
        [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [{"type": "image", "image": "a.png"}, {"type": "text", "text": "What?"}],
            },
            {"role": "assistant", "content": [{"type": "image", "latents": latents}]},
        ]
    )
    assert turns[0] == Turn("system", (Text("Be brief."),))
    assert turns[1] == Turn("user", (Image("a.png"), Text("What?")))
    assert turns[2].parts[0].latents is latents


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ("hello", "list of"),
        ([], "at least one"),
        ([{"role": "user"}], r"messages\[0\]: expected a mapping with 'role' and 'content'"),
        ([{"role": "usr", "content": "x"}], "did you mean 'user'"),
        ([{"role": "user", "content": 3}], r"messages\[0\].content: expected a string"),
        ([{"role": "user", "content": [{"type": "video"}]}], r"content\[0\]: expected"),
        ([{"role": "user", "content": [{"type": "image"}]}], "expected an image under 'image'"),
    ],
)
def test_what_is_no_message_is_refused_with_its_place(messages, words):
    with pytest.raises(ValueError, match=words):
        from_messages(messages)
