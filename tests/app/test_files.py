"""Pictures of a request: names checked before the work, formats by ending."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from unimm.app import files


@pytest.mark.parametrize(("suffix", "kind"), [(".png", "PNG"), (".JPG", "JPEG"), (".webp", "WEBP")])
def test_encode_follows_the_ending(suffix, kind):
    data = files.encode(Image.new("RGB", (8, 8), "red"), suffix)
    assert Image.open(io.BytesIO(data)).format == kind


@pytest.mark.parametrize("name", ["star", "star.txt", "star.pdb"])
def test_an_ending_that_is_no_picture_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"--out: expected a name ending in \.png"):
        files.check_out(tmp_path / name)


def test_a_missing_folder_is_refused_before_drawing(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        files.check_out(tmp_path / "nowhere" / "star.png")


def test_a_folder_is_not_a_picture(tmp_path):
    (tmp_path / "star.png").mkdir()
    with pytest.raises(ValueError, match="got the folder"):
        files.check_out(tmp_path / "star.png")


def test_several_pictures_are_numbered():
    assert files.numbered(Path("a/star.png"), 1) == [Path("a/star.png")]
    assert files.numbered(Path("a/star.png"), 2) == [Path("a/star-1.png"), Path("a/star-2.png")]


def test_unused_names_skip_what_is_there(tmp_path):
    (tmp_path / "drawing-1.png").touch()
    assert files.unused(tmp_path, "drawing") == tmp_path / "drawing-2.png"


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("a red star", "a-red-star.png"),
        ("../../etc: ÿ!", "etc.png"),
        ("???", "picture.png"),
        ("a" * 300, "a" * 60 + ".png"),
    ],
)
def test_a_prompt_names_its_picture(prompt, name):
    assert files.name_for(prompt) == Path(name)
