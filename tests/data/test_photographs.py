"""Pictures of sources by position: pure, cut where they may be, broken ones replaced and told."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from unimm.data.photographs import Photographs, PhotographSettings
from unimm.data.talks import SourceSettings


@pytest.fixture
def folder(tmp_path):
    """Twelve pictures of one class each colour, wider than high, the seventh of them broken."""
    (tmp_path / "things").mkdir()
    for index in range(12):
        picture = np.full((20, 30, 3), index * 20, np.uint8)
        picture[:, :15, 1] = 255  # the left half is green
        Image.fromarray(picture).save(tmp_path / "things" / f"{index:02d}.png")
    broken = tmp_path / "things" / "06.png"
    broken.write_bytes(broken.read_bytes()[:60])
    return tmp_path


def opened(folder, listed=lambda skipped: None, **changes):
    settings = PhotographSettings(
        (SourceSettings(str(folder)),), **{"pixels": 8, "short_side": 10, **changes}
    )
    return Photographs(settings, 3, listed)


def test_a_position_shows_the_same_whoever_asks(folder):
    stream = opened(folder)
    whole = stream.at(0, 10)
    assert whole.shape == (10, 3, 8, 8)
    assert 0 <= whole.min() < whole.max() <= 1
    assert torch.equal(opened(folder).at(4, 3), whole[4:7])
    assert torch.equal(stream.first(3, 4), stream.first(7)[4:])


def test_every_whole_picture_is_shown_and_the_broken_one_is_told(folder):
    told = []
    shown = opened(folder, told.extend, pixels=10).at(0, 120)
    reds = sorted(round(float(x)) for x in shown[:, 0].mean((1, 2)) * 255)
    assert set(reds) == {20 * index for index in range(12)} - {120}
    assert len(reds) == 120  # others stand in for the broken one
    [skipped] = {each.key: each for each in told}.values()
    assert "06.png" in skipped.key
    assert skipped.kind == "picture"


def test_squares_are_cut_anywhere_and_the_middle_is_the_middle(folder):
    stream = opened(folder, pixels=10)
    left = {round(float(picture[1].mean()), 1) for picture in stream.at(0, 40)}
    assert len(left) > 2  # green is on the left only: how much of it is seen tells where the square was
    halves = stream.first(4)[:, 1]
    assert (halves[:, :, :4] > 0.9).all()
    assert not (halves[:, :, 6:] > 0.95).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"short_side": 7}, "expected pixels = 8 or more, got 7"), ({"sources": ()}, "one or more, got none")],
)
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        PhotographSettings(**{"sources": (SourceSettings("x"),), "pixels": 8, "short_side": 10, **changes})


def test_a_source_without_one_whole_picture_is_refused(tmp_path):
    (tmp_path / "things").mkdir()
    for index in range(3):
        (tmp_path / "things" / f"{index}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(
        ValueError, match=r"none of 100 samples from position 0 on can be used; the last: .*png"
    ):
        opened(tmp_path).at(0, 1)
