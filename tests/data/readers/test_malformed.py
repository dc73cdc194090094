"""Rows of the wrong schema are broken samples: the row, the key, what was expected and what was found."""

from __future__ import annotations

import pytest

from tests.data.readers.makers import talk, write_lines, write_parquet
from unimm.data.readers import open_source
from unimm.data.samples import BrokenSample


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """Open one row in a format, expect it to be broken, and return why."""
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path / "cache"))

    def read(format, row, parquet=False, images=None):
        if parquet:
            path = write_parquet(tmp_path / "set" / "rows.parquet", [row])
        else:
            path = write_lines(tmp_path / "set" / "rows.jsonl", [row])
        source = open_source(path, format=format, **({} if images is None else {"images": images}))
        assert source.shards == (1,)
        with pytest.raises(BrokenSample) as caught:
            source[0, 0]
        assert caught.value.key == f"{path.name}:0"
        return caught.value

    return read


GPT = {"from": "gpt", "value": "Yes."}


@pytest.mark.parametrize(
    ("row", "kind", "said"),
    [
        ({"image": "a.jpg"}, "schema", "expected a key 'conversations', got 'image'"),
        ({"conversations": "hi"}, "schema", "conversations: expected a list, got str 'hi'"),
        ({"conversations": []}, "schema", "conversations: expected a reply from 'gpt', got []"),
        (
            {"conversations": ["hi"]},
            "schema",
            "conversations[0]: expected an object with 'from', got str 'hi'",
        ),
        (
            {"conversations": [{"from": "gpt"}]},
            "schema",
            "conversations[0]: expected a key 'value', got 'from'",
        ),
        (
            {"conversations": [{"value": "x"}]},
            "schema",
            "conversations[0]: expected a key 'from', got 'value'",
        ),
        (
            {"conversations": [{"from": "robot", "value": "x"}, GPT]},
            "schema",
            "conversations[0].from: expected one of human, user, gpt, assistant, chatgpt, bard, bing, "
            "system, got str 'robot'",
        ),
        (
            {"conversations": [{"from": "human", "value": "x"}]},
            "schema",
            "expected a reply from 'gpt', got ['user']",
        ),
        (
            {"conversations": [{"from": "human", "value": 3}, GPT]},
            "text",
            "conversations[0].value: expected text, got int 3",
        ),
        ({"conversations": [{"from": "human", "value": None}, GPT]}, "text", "expected text, got null"),
        (
            {"conversations": [{"from": "human", "value": " \n"}, GPT]},
            "text",
            "conversations[0].value: expected words, got none",
        ),
        ({"conversations": [{"from": "human", "value": "a\0b"}, GPT]}, "text", "NUL characters"),
        ({"conversations": [{"from": "human", "value": "\ud800"}, GPT]}, "text", "half a character at 0"),
        (
            {"conversations": [{"from": "human", "value": "x" * (2**20 + 1)}, GPT]},
            "text",
            "at most 1048576 bytes, got 1048577",
        ),
        ({"image": "a.jpg", "conversations": talk(0, "")}, "markers", "got 0 markers and 1 pictures"),
        ({"conversations": talk(0)}, "markers", "got 1 markers and 0 pictures"),
        (
            {"image": ["a.jpg", "b.jpg"], "conversations": talk(0, "<image><image><image>")},
            "markers",
            "got 3 markers and 2 pictures",
        ),
        (
            {"image": 7, "conversations": talk(0)},
            "schema",
            "image: expected a picture's bytes or its path, got int 7",
        ),
        (
            {"image": ["a.jpg", None], "conversations": talk(0)},
            "schema",
            "image: expected a picture's bytes or its path, got null",
        ),
        (
            {"image": {"a": 1}, "conversations": talk(0)},
            "schema",
            "image: expected a picture's bytes or its path, got null",
        ),
        ({"image": "a\0.jpg", "conversations": talk(0)}, "path", "image: expected a path"),
        ({"image": "../a.jpg", "conversations": talk(0)}, "path", "'../a.jpg' has '..' in it"),
        ({"image": "a/../../b.jpg", "conversations": talk(0)}, "path", "has '..' in it"),
        ({"image": "..\\a.jpg", "conversations": talk(0)}, "path", "has '..' in it"),
        (
            {"image": "/etc/passwd", "conversations": talk(0)},
            "path",
            "'/etc/passwd' leads to /etc/passwd, outside of",
        ),
        (
            {"video": "a.mp4", "conversations": talk(0, "")},
            "schema",
            "expected pictures, got a video str 'a.mp4'",
        ),
    ],
)
def test_llavas_rows(broken, row, kind, said):
    found = broken("llava", row)
    assert said in found.reason
    assert found.kind == kind
    assert "\n" not in str(found)


@pytest.mark.parametrize(
    ("format", "row", "said"),
    [
        ("bagel_t2i", {"image": b"x", "captions": "{"}, "captions: not readable as JSON"),
        (
            "bagel_t2i",
            {"image": b"x", "captions": "[1]"},
            "captions: expected an object of names and captions, got list [1]",
        ),
        ("bagel_t2i", {"image": b"x", "captions": "{}"}, "captions: expected an object"),
        ("bagel_t2i", {"image": b"x", "captions": '{"a": 1}'}, "captions.a: expected text, got int 1"),
        ("bagel_t2i", {"image": b"x", "captions": ""}, "captions: expected words, got ''"),
        (
            "bagel_t2i",
            {"image": 1.5, "captions": '{"a": "b"}'},
            "image: expected a picture's bytes or its path, got float 1.5",
        ),
        ("bagel_edit", {"image_list": [b"x", b"y"], "instruction_list": [["a"], ["b"]]}, "got 2 for 2"),
        ("bagel_edit", {"image_list": [b"x"], "instruction_list": [["a"]]}, "got 1 for 1"),
        (
            "bagel_edit",
            {"image_list": b"x", "instruction_list": [["a"]]},
            "image_list: expected a list, got bytes b'x'",
        ),
        (
            "bagel_edit",
            {"image_list": [b"x", b"y"], "instruction_list": [[""]]},
            "instruction_list[0][0]: expected words, got ''",
        ),
        (
            "metaquery",
            {"source_images": None, "target_image": b"x", "prompt": "p"},
            "source_images: expected a list, got null",
        ),
        (
            "metaquery",
            {"source_images": [b"x"], "target_image": None, "prompt": "p"},
            "target_image: expected a picture's",
        ),
        (
            "metaquery",
            {"source_images": [b"x"], "target_image": b"y", "prompt": None},
            "prompt: expected text, got null",
        ),
        (
            "metaquery",
            {"source_images": [b"x"], "target_image": b"y"},
            "expected a key 'prompt', got 'source_images', 'target_image'",
        ),
        (
            "omniedit",
            {"src_img": b"x", "edited_img": b"y", "edited_prompt_list": ["a", ""]},
            "edited_prompt_list[1]: expected words",
        ),
        (
            "omniedit",
            {"src_img": b"x", "edited_img": b"y", "edited_prompt_list": 3},
            "edited_prompt_list: expected text, got int 3",
        ),
    ],
)
def test_rows_of_parquet(broken, format, row, said):
    assert said in broken(format, row, parquet=True).reason


USER = {"role": "user", "content": "hi"}


@pytest.mark.parametrize(
    ("row", "kind", "said"),
    [
        ({"messages": {}}, "schema", "messages: expected a list, got dict {}"),
        ({"messages": [USER]}, "schema", "messages: expected a reply, got ['user']"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "schema", "messages[0].role: expected one of"),
        (
            {"messages": [{"role": "assistant", "content": 3}]},
            "schema",
            "messages[0].content: expected a list, got int 3",
        ),
        (
            {"messages": [{"role": "assistant", "content": []}]},
            "text",
            "messages[0].content: expected words or pictures",
        ),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "audio"}]}]},
            "schema",
            "content[0].type: expected text or image, got str 'audio'",
        ),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "text", "text": 1}]}]},
            "text",
            "content[0].text: expected text, got int 1",
        ),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "image"}]}]},
            "markers",
            "got 1 places and 0 images",
        ),
        (
            {"messages": [{"role": "assistant", "content": "<image>"}], "images": ["a", "b"]},
            "markers",
            "got 1 places and 2 images",
        ),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}],
                    }
                ]
            },
            "missing",
            "expected a local picture",
        ),
    ],
)
def test_rows_of_messages(broken, row, kind, said):
    found = broken("messages", row)
    assert said in found.reason
    assert found.kind == kind


def test_an_object_that_has_a_key_twice_is_no_row(tmp_path, monkeypatch):
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "rows.jsonl"
    path.write_text('{"messages": [], "messages": [{"role": "assistant", "content": "a star"}]}')
    with pytest.raises(BrokenSample, match="row: not readable as JSON .two keys 'messages' in one object"):
        open_source(path, format="messages")[0, 0]
