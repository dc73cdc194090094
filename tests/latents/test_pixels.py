"""Pixels: what is no picture is refused before it costs anything; what is goes round unharmed."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from unimm.latents import load_image, resize_pixels, to_images, to_pixels
from unimm.latents.pixels import to_reference_images


@pytest.fixture
def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8))


def png(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def enormous_png(width, height):
    """Return a PNG header that promises width x height and brings nothing."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\x00\x00\x00\x00IDAT\x35\xaf\x06\x1e"


def test_every_kind_of_source_gives_the_same_picture(picture, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(picture))
    wanted = np.asarray(picture)
    array = np.asarray(picture)
    for source in (picture, path, str(path), png(picture), array, (array / 255).astype(np.float32)):
        loaded = load_image(source)
        assert loaded.mode == "RGB"
        assert np.array_equal(np.asarray(loaded), wanted)


def test_pixels_and_back_is_the_same_picture(picture):
    square = picture.resize((10, 10))
    pixels = to_pixels([square, square], 10)
    assert pixels.shape == (2, 3, 10, 10)
    assert pixels.min() >= 0
    assert pixels.max() <= 1
    assert np.array_equal(np.asarray(to_images(pixels)[1]), np.asarray(square))


def test_pictures_are_clamped_and_rounded():
    pixels = torch.tensor([-1.0, 0.5, 2.0, 0.999]).reshape(1, 1, 2, 2).expand(1, 3, 2, 2)
    assert np.asarray(to_images(pixels)[0])[..., 0].tolist() == [[0, 128], [255, 255]]


def test_pixels_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite"):
        to_images(torch.full((1, 3, 2, 2), float("nan")))


@pytest.mark.parametrize("size", [5, 20])
def test_resampling_agrees_with_pil(picture, size):
    ours = to_images(to_pixels([picture], size))[0]
    theirs = picture.resize((size, size), Image.Resampling.BILINEAR)
    assert np.abs(np.asarray(ours).astype(int) - np.asarray(theirs)).max() <= 1


def test_resizing_keeps_range_and_does_nothing_when_nothing_is_to_do():
    pixels = (torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    assert resize_pixels(pixels, 16) is pixels
    for size in (7, 40):
        small = resize_pixels(pixels, size)
        assert small.min() >= 0
        assert small.max() <= 1 + 1e-6


def test_transparency_is_laid_on_white_and_orientation_applied(picture):
    clear = Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    assert np.asarray(load_image(clear)).min() == 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    assert load_image(png(picture, exif=exif)).size == (12, 10)


def test_sixteen_bit_greys_keep_their_brightness():
    grey = Image.fromarray(np.full((2, 2), 32768, dtype=np.uint16))
    assert np.asarray(load_image(png(grey)))[0, 0].tolist() == [128, 128, 128]


@pytest.mark.parametrize("mode", ["I", "F"])
def test_numbers_without_a_known_range_are_refused(mode):
    with pytest.raises(ValueError, match=f"mode {mode}"):
        load_image(Image.new(mode, (2, 2)))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file at .*none\.png"):
        load_image(tmp_path / "none.png")


@pytest.mark.parametrize("data", [b"", b"not a picture", b"GIF89a"])
def test_what_is_no_picture_is_refused(data):
    with pytest.raises(ValueError, match="not a picture"):
        load_image(data)


def test_a_picture_cut_short_is_refused(picture):
    with pytest.raises(ValueError, match="cut short"):
        load_image(png(picture)[:200])


@pytest.mark.parametrize("side", [8001, 12000, 60000])
def test_an_enormous_picture_is_refused_before_it_is_decoded(side):
    with pytest.raises(ValueError, match="limit"):
        load_image(enormous_png(side, side))


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((2, 2, 4), np.uint8), r"got shape \(2, 2, 4\)"),
        (np.zeros((0, 2, 3), np.uint8), "got shape"),
        (np.full((2, 2, 3), 255.0), "divide by 255"),
        (np.zeros((2, 2, 3), np.int64), "got int64"),
    ],
)
def test_arrays_that_are_no_pictures_are_refused(array, said):
    with pytest.raises(ValueError, match=said):
        load_image(array)


def test_one_picture_is_no_list_and_a_number_no_picture(picture):
    with pytest.raises(ValueError, match="list of pictures"):
        to_pixels(picture, 8)
    with pytest.raises(ValueError, match="got int"):
        load_image(3)


def test_reference_pictures_are_cut_down_instead_of_rounded():
    pixels = torch.tensor([-1.0, 0.5, 2.0, 0.999]).reshape(1, 1, 2, 2).expand(1, 3, 2, 2)
    assert np.asarray(to_reference_images(pixels)[0])[..., 0].tolist() == [[0, 127], [255, 254]]
