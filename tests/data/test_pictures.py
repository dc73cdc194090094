"""Pictures of strangers: opened upright and in RGB, or a broken sample that says why."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.data.readers.makers import encoded, picture
from unimm.data import pictures
from unimm.data.pictures import ImageRef, measure_file, measure_picture, open_picture, read_picture
from unimm.data.samples import BrokenSample


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def refused(stored, kind="picture"):
    with pytest.raises(BrokenSample) as caught:
        open_picture(stored, "row 7")
    assert caught.value.key == "row 7"
    assert caught.value.kind == kind
    return caught.value.reason


def bomb(width, height):
    """Return a PNG of a few bytes that says it is huge."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_a_picture_is_the_same_from_bytes_path_and_within_a_file(tmp_path):
    content = encoded(1)
    (tmp_path / "a.png").write_bytes(content)
    (tmp_path / "all").write_bytes(b"xyz" + content + b"zyx")
    inside = ImageRef(str(tmp_path / "all"), 3, len(content), "a.png")
    for stored in (content, tmp_path / "a.png", str(tmp_path / "a.png"), inside):
        assert open_picture(stored, "").tobytes() == picture(1).tobytes()


def test_a_file_is_measured_by_its_header_alone(tmp_path):
    """Of files, what is refused and how is what it is of their bytes."""
    frames = [picture(number) for number in range(2)]
    moving = saved(frames[0], "png", save_all=True, append_images=frames[1:])
    path = tmp_path / "a.png"
    for content in (encoded(1), encoded(1)[:60], moving, bomb(10_000, 10_000), b"%!PS-Adobe", b""):
        path.write_bytes(content)
        results = []
        for measure in (
            lambda path: measure_file(path, "k"),
            lambda path: measure_picture(read_picture(path, "k"), "k", str(path)),
        ):
            try:
                results.append(measure(path))
            except BrokenSample as broken:
                results.append((broken.key, broken.reason, broken.kind))
        assert results[0] == results[1]
    path.write_bytes(encoded(1)[:60])
    assert measure_file(path, "k") == (32, 32, "PNG", "RGB")
    for missing in (tmp_path, tmp_path / "no.png"):
        with pytest.raises(BrokenSample, match="k: no file at"):
            measure_file(missing, "k")


def test_cmyk_and_grey_become_rgb_and_the_camera_is_held_upright():
    wanted = np.asarray(picture(2), dtype=float)
    cmyk = np.asarray(open_picture(saved(picture(2).convert("CMYK"), "jpeg", quality=95), ""), dtype=float)
    assert np.abs(cmyk - wanted).mean() < 8
    assert open_picture(saved(picture(2).convert("L"), "png"), "").mode == "RGB"
    exif = Image.Exif()
    exif[274] = 6  # to be turned by 90 degrees clockwise
    wide = picture(2).resize((40, 20))
    turned = open_picture(saved(wide, "jpeg", exif=exif, quality=95), "")
    assert turned.size == (20, 40)
    wanted = np.asarray(wide.rotate(-90, expand=True), dtype=float)
    assert np.abs(np.asarray(turned, dtype=float) - wanted).mean() < 8


@pytest.mark.parametrize("size", [(10_000, 10_000), (60_000, 60_000)])
def test_bombs_are_refused_unopened(size):
    assert "limit" in refused(bomb(*size))


def test_a_picture_within_the_limit_is_no_bomb(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # Pillow's own warning is not ours
    assert open_picture(saved(Image.new("RGB", (4, 4)), "png"), "").size == (4, 4)


def test_cut_files_are_refused():
    for content in (encoded(3)[:-300], encoded(3, "jpeg")[:-200], encoded(3)[:20]):
        assert "picture of" in refused(content)


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "tiff"])
def test_animations_are_refused(kind):
    frames = [picture(number).convert("P" if kind == "gif" else "RGB") for number in range(3)]
    content = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    assert "expected one picture, got 3 frames" in refused(content)
    assert open_picture(saved(frames[0], kind), "").size == (32, 32)


def test_a_cameras_second_picture_is_not_a_film():
    content = saved(picture(0), "mpo", save_all=True, append_images=[picture(1)])
    assert open_picture(content, "").size == (32, 32)


@pytest.mark.parametrize(
    "content",
    [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"<svg></svg>", b"<!doctype html>", b"\0" * 99],
)
def test_other_files_are_no_pictures(content):
    assert "not a picture that can be read" in refused(content)
    assert " at 0x" not in refused(content)  # runs of one seed list the same


def test_empty_and_huge_files_are_not_read(tmp_path, monkeypatch):
    (tmp_path / "a.png").touch()
    assert f"{tmp_path}/a.png: an empty file" in refused(tmp_path / "a.png")
    assert "picture of 0 bytes: an empty file" in refused(b"")
    monkeypatch.setattr(pictures, "MAX_FILE_BYTES", 10)
    (tmp_path / "b.png").write_bytes(encoded(0))
    assert "expected at most 10 bytes" in refused(tmp_path / "b.png")
    assert "expected at most 10 bytes" in refused(ImageRef(str(tmp_path / "b.png"), 0, 11, "x"))


def test_what_is_not_there_and_what_never_ends(tmp_path):
    assert refused(tmp_path / "no.png", "missing") == f"no file at {tmp_path}/no.png"
    os.mkfifo(tmp_path / "pipe.png")
    assert refused(tmp_path / "pipe.png", "missing")
    assert refused(tmp_path, "missing")
    assert refused(ImageRef(str(tmp_path / "gone.tar"), 0, 9, "x"), "missing")
    (tmp_path / "short").write_bytes(b"12345")
    assert "expected 9 bytes, the file ends after 5" in refused(
        ImageRef(str(tmp_path / "short"), 0, 9, "x"), "damage"
    )


def test_random_damage_never_raises_anything_else():
    rng = np.random.default_rng(0)
    for number in range(120):
        content = bytearray(encoded(1, ("png", "jpeg", "gif", "webp", "tiff", "bmp")[number % 6]))
        for place in rng.integers(len(content), size=int(rng.integers(1, 20))):
            content[place] = int(rng.integers(256))
        with contextlib.suppress(BrokenSample):
            assert open_picture(bytes(content), "").mode == "RGB"
