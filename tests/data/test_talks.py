"""unimm.data.talks: what stands at a position depends on the position alone, and nothing is lost unseen."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image as PILImage

from tests.data.talking import Listed, reading, save_picture, talks
from tests.model.small import small_tokenizer
from unimm.data.captions import check_shares, with_caption
from unimm.data.collate import Looking, batch_of_rows, pixels_of
from unimm.data.samples import BrokenSample, Sample
from unimm.data.skipped import SkipList, read_skipped
from unimm.data.standins import Spot, Unusable
from unimm.data.talks import SourceSettings, tally
from unimm.latents.pixels import to_pixels
from unimm.parts import IGNORED, Image, Text, Turn
from unimm.training.prefetch import prefetch

TWO = (Listed("a", (7, 5), broken=frozenset({(0, 3), (1, 0)})), Listed("b", (4,)))


def keys_by(workers: int, ranks: int, start: int, stop: int, micro: int = 4) -> list[str]:
    """Return the keys of positions start to stop, prepared by ranks of so many workers each."""
    found: dict[int, str] = {}
    for rank in range(ranks):
        mine = talks(*TWO, weights=[2, 1])
        starts = range(start + rank * micro, stop, ranks * micro)
        for rows in prefetch(lambda at, mine=mine: mine.rows(at, micro), starts, 3, workers):
            found.update({row.position: row.key for row in rows})
    return [found[position] for position in sorted(found)]


@pytest.mark.parametrize(("workers", "ranks"), [(1, 1), (2, 1), (4, 1), (1, 2), (2, 4)])
def test_workers_and_ranks_read_the_same_keys_and_so_does_a_run_that_goes_on(workers, ranks):
    whole = [row.key for row in talks(*TWO, weights=[2, 1]).rows(0, 96)]
    assert keys_by(workers, ranks, 0, 96) == whole
    assert keys_by(workers, ranks, 0, 32) + keys_by(5 - workers, 1, 32, 96) == whole


def test_the_sources_have_their_shares_and_every_sample_its_turn():
    keys = [row.key for row in talks(*TWO, weights=[3, 1]).rows(0, 1024)]
    assert abs(sum(key.startswith("a") for key in keys) - 768) <= 1
    assert set(keys) == {
        f"{source.name}/{shard}/{row}"
        for source in TWO
        for shard, rows in enumerate(source.shards)
        for row in range(rows)
        if (shard, row) not in source.broken
    }


def test_a_broken_sample_is_replaced_by_the_next_of_its_source_and_told():
    mine = talks(*TWO)
    rows = mine.rows(0, 60)
    whole = [row for row in rows if not row.skipped]
    assert 0 < len(whole) < 60
    for row in rows:
        source, shard, place = mine.mixture.after(row.position, len(row.skipped))
        assert row.key == f"{TWO[source].name}/{shard}/{place}"
        for gone in row.skipped:
            assert gone.position == row.position
            assert gone.key in ("a/0/3", "a/1/0")
            assert (gone.kind, gone.reason) == ("text", "expected words, got none")
    assert tally(rows) == {"skipped": 60 - len(whole), "cut": 0}


def test_a_source_with_nothing_but_broken_samples_is_an_error():
    every = frozenset((0, row) for row in range(3))
    with pytest.raises(ValueError, match="none of 100 samples from position 5 on .* a/0/.: expected words"):
        talks(Listed("a", (3,), broken=every)).row(5)


def test_a_stream_is_read_in_its_order():
    places = talks(Listed("s", (3, 4), random_access=False)).mixture.sources[0].locate(np.arange(9))
    assert [place.tolist() for place in places] == [
        [0, 0, 0, 1, 1, 1, 1, 0, 0],
        [0, 1, 2, 0, 1, 2, 3, 0, 1],
        [0, 0, 0, 0, 0, 0, 0, 1, 1],
    ]


def test_long_conversations_lose_whole_exchanges_never_a_part():
    one = len(reading(10_000).read(Listed("a", (1,), num_turns=1)[0, 0].turns, "k")[0].ids)
    many = Listed("a", (1,), num_turns=9)[0, 0]
    whole, is_cut = reading(10_000).read(many.turns, "k")
    assert not is_cut
    cut, is_cut = reading(one + 5).read(many.turns, "k")
    assert is_cut
    assert cut.ids == whole.ids[:one]
    assert cut.labels == whole.labels[:one]
    with pytest.raises(Unusable, match=rf"expected at most {one - 1} .* and so has its first exchange"):
        reading(one - 1).read(many.turns, "k")
    with pytest.raises(Unusable, match="expected at most"):
        reading(one + 5, too_long="skip").read(many.turns, "k")


def test_a_picture_is_never_divided():
    turns = (
        Turn("user", (Text("Hi"),)),
        Turn("assistant", (Text("Hello"),)),
        Turn("user", (Image("x"), Text("What?"))),
        Turn("assistant", (Text("a star"),)),
    )
    whole = reading(1000).read(turns, "k")[0]
    for length in range(whole.runs[0].start, len(whole.ids)):
        row, is_cut = reading(length).read(turns, "k")
        assert is_cut
        assert (row.runs, row.images) == ([], [])


def test_what_teaches_nothing_is_not_used():
    with pytest.raises(Unusable, match="expected an assistant turn"):
        reading().read([Turn("user", (Text("Hi"),))], "k")


def test_labels_are_the_assistants_words_and_published_marks_when_asked():
    turns = Listed("a", (1,))[0, 0].turns
    plain, published = reading().read(turns, "k")[0], reading(labels_marks=True).read(turns, "k")[0]
    said = small_tokenizer().decode([x for x in plain.labels if x != IGNORED])
    assert said == "a star<|im_end|>"
    assert sum(x != IGNORED for x in published.labels) > sum(x != IGNORED for x in plain.labels)


def captioned() -> Sample:
    wordings = {name: (Turn("assistant", (Text(name),)),) for name in ("original", "short", "long")}
    return Sample(wordings["original"], "k", wordings)


def test_captions_are_mixed_by_their_shares():
    lots = np.random.default_rng(0).random(4000)
    said = [with_caption(captioned(), {"original": 1, "long": 3}, lot).texts[0] for lot in lots]
    assert said.count("short") == 0
    assert abs(said.count("long") / 4000 - 0.75) < 0.02
    assert with_caption(captioned(), {}, 0.9).texts == ("original",)
    assert with_caption(captioned(), {"missing": 5, "short": 1}, 0.5).texts == ("short",)
    with pytest.raises(BrokenSample, match="captions: expected one of alt, got original, short, long"):
        with_caption(captioned(), {"alt": 1}, 0.5)
    with pytest.raises(
        BrokenSample, match="captions: expected one of alt, got a conversation, which has none"
    ):
        with_caption(Sample(captioned().turns, "k"), {"alt": 1}, 0.5)
    with pytest.raises(ValueError, match="captions.alt: expected a share above 0, got 0"):
        check_shares({"alt": 0})
    with pytest.raises(ValueError, match="captions.alt"):
        SourceSettings("x", captions={"alt": -1.0})


def test_a_caption_belongs_to_its_position():
    class Captioned(Listed):
        def __getitem__(self, place):
            return captioned()

    mine = [
        talks(Captioned("c", (9,)), settings=[SourceSettings("x", captions={"short": 1.0, "long": 1.0})])
        for _ in "ab"
    ]
    said = [[row.rendered.ids for row in each.rows(0, 40)] for each in mine]
    assert said[0] == said[1]
    assert len({tuple(ids) for ids in said[0]}) == 2


def test_pictures_are_opened_once_at_the_size_of_the_encoder(tmp_path):
    path = save_picture(tmp_path / "a.png")
    seen, drawn = Looking(12, 8)([Image(path), Image(path, target=True)], "k", Spot(0, 0, 0))
    assert (seen.shape, seen.dtype, drawn.shape) == ((3, 12, 12), torch.uint8, (3, 8, 8))
    assert (seen.float() / 255 - to_pixels([str(path)], 12)[0]).abs().max() < 1.5 / 255
    assert torch.equal(seen, pixels_of(PILImage.open(path).convert("RGB"), 12))


def test_a_batch_has_its_pictures_in_the_order_of_the_runs(tmp_path):
    sources = [
        Listed(name, (3,), pictures=(save_picture(tmp_path / f"{name}.png", seed),))
        for seed, name in enumerate("ab")
    ]
    rows = talks(*sources).rows(0, 7)
    apart, packed = (batch_of_rows(rows, 0, 128, is_packed) for is_packed in (False, True))
    assert torch.equal(apart.context_pixels, torch.stack([row.pictures[0] for row in rows]))
    assert torch.equal(apart.context_pixels, packed.context_pixels)
    assert len(apart.batch.context_runs) == len(packed.batch.context_runs) == 7
    assert len(packed.batch.input_ids) < len(apart.batch.input_ids) == 7
    assert packed.facts["tokens"] == apart.facts["tokens"] == sum(len(row.rendered.ids) for row in rows)
    assert apart.target_pixels is None


def test_a_broken_picture_breaks_its_sample(tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    rows = talks(Listed("a", (4,), pictures=(save_picture(tmp_path / "a.png"), bad))).rows(0, 20)
    assert {row.key for row in rows} == {"a/0/0", "a/0/2"}
    assert {(gone.key, gone.kind) for row in rows for gone in row.skipped} == {
        ("a/0/1", "picture"), ("a/0/3", "picture"),
    }  # fmt: skip


def test_the_list_of_skipped_samples_names_each_once(tmp_path):
    rows = talks(*TWO).rows(0, 40)
    for start in (0, 10, 0):  # prepared again after a resume
        listed = SkipList(tmp_path)
        for row in rows[start:]:
            listed.add(row.skipped)
    found = read_skipped(tmp_path)
    assert len(found) == len({(gone.position, gone.key) for row in rows for gone in row.skipped})
    with (tmp_path / "skipped.jsonl").open("a") as file:
        file.write('{"position": 9')  # killed
    SkipList(tmp_path).add(talks(*TWO).rows(40, 40)[0].skipped or rows[0].skipped)
    assert json.dumps(read_skipped(tmp_path))
