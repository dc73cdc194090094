"""The doctor counts what is there and what is broken, shows masks, and finds leaked prompts."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from tests.data.readers import makers
from tests.data.readers.makers import encoded, talk, words, write_lines, write_pictures
from unimm.data.doctor import LISTED, Checks, Places, chosen, examine, spread
from unimm.data.doctor_leaks import Leaks
from unimm.data.doctor_masks import DRAWN, GIVEN, LEARNT, SEEN, mask_of, printable
from unimm.data.doctor_page import page_of
from unimm.data.doctor_report import faults_of, healthy, lines_of, report_of
from unimm.data.readers import Guess, open_source, sniff
from unimm.data.samples import Sample
from unimm.parts import IGNORED, Image, Text, Turn
from unimm.text.chat import render
from unimm.text.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([words(number) for number in range(30)], vocab_size=330)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path / "cache"))


def checked(path, tokenizer, **options):
    source = open_source(path)
    found = examine(source, tokenizer, Checks(num_slots=4, **options))
    return found, report_of(str(path), sniff(path), source, found)


def ailing(folder):
    """Write ten rows of which six are broken in ways of their own, and two share a picture."""
    write_pictures(folder, [("0.png", 0), ("1.png", 1), ("2.png", 0)])
    (folder / "cut.png").write_bytes(encoded(3)[:-300])
    (folder / "none.png").touch()
    good = [{"image": f"{n}.png", "conversations": talk(n)} for n in range(3)]
    bad = [
        {"image": "cut.png", "conversations": talk(0)},
        {"image": "none.png", "conversations": talk(0)},
        {"image": "gone.png", "conversations": talk(0)},
        {"image": "../out.png", "conversations": talk(0)},
        {"image": "0.png", "conversations": talk(0, "")},
        {"id": 5},
    ]
    words_only = {"conversations": [{"from": "gpt", "value": "Only this."}]}
    return write_lines(folder / "rows.jsonl", [*good, *bad, words_only])


def test_what_is_broken_is_counted_by_kind_and_listed(tmp_path, tokenizer):
    found, report = checked(ailing(tmp_path / "set"), tokenizer)
    assert (report["samples"], report["checked"]) == (10, 10)
    assert report["broken"]["kinds"] == {"picture": 2, "missing": 1, "path": 1, "markers": 1, "schema": 1}
    assert report["broken"]["count"] == found.num_broken == 6
    assert [each["key"] for each in report["broken"]["first"]] == [f"rows.jsonl:{n}" for n in range(3, 9)]
    assert report["duplicates"] == {"pictures": 1, "samples": 2, "first": [["rows.jsonl:0", "rows.jsonl:2"]]}
    assert report["pictures"]["formats"] == {"PNG RGB": 3}
    assert not healthy(report)
    said = "\n".join(f"{name}: {text}" for name, text in faults_of(report))
    assert "broken: 6 of 10: " in said
    assert "missing: rows.jsonl:5: no file at" in said


def test_a_healthy_set_has_no_faults(tmp_path, tokenizer):
    _, report = checked(makers.blip3o(tmp_path / "set"), tokenizer)
    assert healthy(report)
    assert faults_of(report) == []
    json.dumps(report)


def test_tokens_are_those_of_training(tmp_path, tokenizer):
    path = makers.llava(tmp_path / "set")
    found, report = checked(path, tokenizer)
    rows = [render(open_source(path)[0, row].turns, tokenizer, 4) for row in range(4)]
    assert found.tokens == Counter(len(row.ids) for row in rows)
    assert found.labelled == Counter(sum(label != IGNORED for label in row.labels) for row in rows)
    assert report["tokens"]["most"] == max(found.tokens)


def test_masks_show_what_is_learnt(tokenizer):
    turns = (
        Turn("user", (Image(b""), Text("Draw a red one."))),
        Turn("assistant", (Text("Here:"), Image(b"", target=True))),
    )
    mask = mask_of(Sample(turns, "k"), tokenizer, 4)
    row = render(turns, tokenizer, 4)
    assert sum(piece.tokens for piece in mask) == len(row.ids)
    assert [piece.kind for piece in mask] == [GIVEN, SEEN, GIVEN, LEARNT, DRAWN, LEARNT, GIVEN]
    assert [piece.tokens for piece in mask if piece.kind in (SEEN, DRAWN)] == [4, 4]
    assert "Draw a red one." in mask[2].text
    assert mask[3].text == "Here:<im_start>"
    assert mask[5].text == "<im_end><|im_end|>"


def test_two_pictures_side_by_side_are_two_pieces(tokenizer):
    turns = (Turn("assistant", (Image(b"", target=True), Image(b"", target=True))),)
    mask = mask_of(Sample(turns, "k"), tokenizer, 3)
    assert [piece.tokens for piece in mask if piece.kind == DRAWN] == [3, 3]


def places(source, limit):
    return list(map(Places(source).at, chosen(source, limit)))


def test_a_limit_is_spread_over_the_whole_and_repeats(tmp_path):
    source = open_source(makers.blip3o(tmp_path / "set", tars=4, rows=50))
    found = places(source, 40)
    assert found == places(source, 40) == sorted(set(found))
    assert {shard for shard, _ in found} == {0, 1, 2, 3}
    assert len(places(source, 0)) == len(places(source, 999)) == 200
    assert places(source, 200)[-1] == (3, 49)


def test_of_a_stream_the_first_rows_are_read():
    class Stream:
        random_access, shards_at_once, shards = False, None, (9,)

        def __len__(self):
            return 9

    assert places(Stream(), 3) == [(0, 0), (0, 1), (0, 2)]


class Endless:
    """So many samples of two pictures by turns, whose words are a benchmark's; made as they are read."""

    shards, random_access, shards_at_once, faults = (400, 200), True, None, ()
    pictures = (encoded(0), encoded(1))

    def __len__(self):
        return sum(self.shards)

    def key(self, place):
        return "{}:{}".format(*place)

    def __getitem__(self, place):
        turns = (
            Turn("user", (Image(self.pictures[place[1] % 2]), Text("a red circle"))),
            Turn("assistant", (Text("Yes."),)),
        )
        return Sample(turns, self.key(place))


def test_a_whole_source_is_read_in_little_memory(tokenizer):
    """What is kept is counts, what is shown, and 16 bytes a picture."""
    found = examine(
        Endless(), tokenizer, Checks(limit=0, num_slots=4, leaks=Leaks({"a red circle": "bench"}))
    )
    report = report_of("x", Guess("x", "x", ()), Endless(), found)
    assert (report["checked"], report["pictures"]["count"], report["leaks"]["count"]) == (600, 600, 600)
    assert report["pictures"]["width"]["mean"] == 32
    kept = (found.widths, found.heights, found.tokens, found.labelled, found.formats)
    assert [len(each) for each in kept] == [1] * 5
    assert len(found.leaks) == len(report["leaks"]["first"]) == LISTED
    shared = [[f"0:{n}" for n in (0, 2, 4, 6)], [f"0:{n}" for n in (1, 3, 5, 7)]]
    assert report["duplicates"] == {"pictures": 2, "samples": 600, "first": shared}


def test_the_page_shows_pictures_and_runs_nothing_of_the_data(tmp_path, tokenizer):
    folder = makers.captions(tmp_path / "<b>set")
    (folder / "sub" / "0.txt").write_text("<script>alert(1)</script> \x1b[2J & \u202e more")
    found, report = checked(folder, tokenizer, shown=3)
    page = page_of(report, found.shown)
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert page.count("data:image/png;base64,") == 3
    assert "&lt;b&gt;set" in page
    assert "http" not in page


def test_characters_that_move_a_cursor_are_not_printed():
    assert printable("a\x1b[2Jb\nc\u202ed\re ü 日") == "a\ufffd[2Jb\nc\ufffdd\ufffde ü 日"


def test_numbers_are_told_by_their_spread():
    assert spread({}) == {}
    assert spread({7: 1}) == dict.fromkeys(("least", "median", "p95", "most", "mean"), 7)
    rng = np.random.default_rng(0)
    for size in (2, 3, 20, 21, 1000):
        values = rng.integers(0, 50, size)
        told = spread(Counter(values.tolist()))
        assert (told["least"], told["most"]) == (values.min(), values.max())
        assert told["median"] == np.median(values)
        assert told["p95"] == pytest.approx(np.quantile(values, 0.95))
        assert told["mean"] == pytest.approx(values.mean())


def test_every_line_is_one_line(tmp_path, tokenizer):
    _, report = checked(ailing(tmp_path / "set"), tokenizer)
    assert all("\n" not in text for _, text in lines_of(report))


def test_classes_and_wordings_are_told(tmp_path, tokenizer):
    _, report = checked(makers.imagenet(tmp_path / "classes"), tokenizer)
    assert report["classes"] == 2
    _, report = checked(makers.bagel_t2i(tmp_path / "captions"), tokenizer)
    assert report["wordings"] == {"long, short": 5}
    assert ("captions", "long, short (5)") in lines_of(report)


def test_one_shard_is_said_of_one(tmp_path, tokenizer):
    _, report = checked(makers.blip3o(tmp_path / "set", tars=1, rows=2), tokenizer)
    for count, said in ((1, "2 in 1 shard, 2 checked"), (0, "in 0 shards,"), (1200, "in 1,200 shards,")):
        assert said in dict(lines_of({**report, "shards": count}))["samples"]
