"""Pictures are laid out as official scripts read them, and read back the same from anybody's folder."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from unimm.evaluation.bench.items import items_of
from unimm.evaluation.bench.layouts import CANDIDATES, DPG, GENEVAL, GENEVAL2, LAYOUTS, WISE
from unimm.evaluation.tiles import Tile, grid_of, png, whole

NAMES = {"geneval": ("00000", "00001"), "dpg": ("3", "drawtext7"), "wise": ("1", "2")}


def items(kind="dpg"):
    line = {"tag": "single_object", "include": [{"class": "cup", "count": 1}]}
    rows = [(name, f"prompt {name}", None, {**line, "prompt": f"prompt {name}"}) for name in NAMES[kind]]
    return items_of(rows, "here")


def coloured(index, sample):
    return Image.new("RGB", (16, 16), (40 * index + 10, 50 * sample, 200))


def written(run, layout, asked, samples):
    """Write every sample and what is made of them."""
    for item in asked:
        for sample in range(samples):
            path = run / layout.sample(item, sample)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(coloured(item.index, sample)))
        layout.finish(run, item, samples)
    layout.close(run, run / layout.folder, asked)


@pytest.mark.parametrize(
    ("layout", "kind", "samples"),
    [(GENEVAL, "geneval", 4), (DPG, "dpg", 4), (DPG, "dpg", 1), (WISE, "wise", 1), (CANDIDATES, "dpg", 3)],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_what_is_written_is_found_again(layout, kind, samples, tmp_path):
    asked = items(kind)
    written(tmp_path, layout, asked, samples)
    found = layout.find(tmp_path / layout.folder, asked, samples)
    assert (found.missing, found.extra) == ({}, [])
    assert set(found.tiles) == {(item.index, sample) for item in asked for sample in range(samples)}
    for (index, sample), tile in found.tiles.items():
        assert tile.open().tobytes() == coloured(index, sample).tobytes()
    assert len({tile.digest() for tile in found.tiles.values()}) == len(found.tiles)


def test_genevals_folder_is_the_official_one(tmp_path):
    asked = items("geneval")
    written(tmp_path, GENEVAL, asked, 2)
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert names == [
        f"images/{item}/{name}"
        for item in ("00000", "00001")
        for name in ("grid.png", "metadata.jsonl", "samples/00000.png", "samples/00001.png")
    ]
    text = (tmp_path / "images" / "00001" / "metadata.jsonl").read_text()
    assert json.loads(text) == dict(asked[1].facts)


def test_tiles_of_a_grid_stand_in_reading_order(tmp_path):
    asked = items()
    written(tmp_path, DPG, asked, 4)
    grid = np.asarray(Image.open(tmp_path / "images" / "drawtext7.png"))
    assert grid.shape == (32, 32, 3)
    corners = [grid[0, 0, 1], grid[0, 31, 1], grid[31, 0, 1], grid[31, 31, 1]]
    assert corners == [0, 50, 100, 150]
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == ["3.png", "drawtext7.png"]


def test_geneval2_gets_the_path_of_every_prompt(tmp_path):
    asked = items("wise")
    written(tmp_path, GENEVAL2, asked, 1)
    table = json.loads((tmp_path / "image_filepath_data.json").read_text())
    assert list(table) == ["prompt 1", "prompt 2"]
    with Image.open(table["prompt 2"]) as image:
        assert image.tobytes() == coloured(1, 0).tobytes()


def test_holes_and_strangers_are_told(tmp_path):
    asked = items()
    written(tmp_path, DPG, asked, 4)
    (tmp_path / "images" / "3.png").rename(tmp_path / "images" / "4.png")
    found = DPG.find(tmp_path / "images", asked, 4)
    assert (found.missing, found.extra) == ({"3.png": 4}, ["4.png"])
    assert set(found.tiles) == {(1, sample) for sample in range(4)}


def test_pictures_that_the_official_script_would_pass_over_are_told(tmp_path):
    asked = items("geneval")
    written(tmp_path, GENEVAL, asked, 2)
    samples = tmp_path / "images" / "00001" / "samples"
    (samples / "00001.png").rename(samples / "00001.jpg")
    (samples / "notes.txt").write_text("not a picture")
    found = GENEVAL.find(tmp_path / "images", asked, 2)
    assert found.missing == {"00001/samples/ (1 of 2 <number>.png)": 1}
    assert found.extra == ["00001/samples/00001.jpg"]
    (tmp_path / "images" / "00000").rename(tmp_path / "images" / "00007")
    found = GENEVAL.find(tmp_path / "images", asked, 2)
    assert found.missing == {"00000/": 2, "00001/samples/ (1 of 2 <number>.png)": 1}


def test_two_folders_of_one_number_are_refused(tmp_path):
    asked = items("geneval")
    written(tmp_path, GENEVAL, asked, 1)
    (tmp_path / "images" / "0001").mkdir()
    with pytest.raises(ValueError, match="one folder per prompt, got 00001 and 0001, which are both number"):
        GENEVAL.find(tmp_path / "images", asked, 1)


def test_what_is_half_written_is_not_seen(tmp_path):
    asked = items("geneval")
    written(tmp_path, GENEVAL, asked, 1)
    (tmp_path / "images" / "00000" / "samples" / ".00001.png.123.partial").write_bytes(b"half")
    found = GENEVAL.find(tmp_path / "images", asked, 1)
    assert (found.missing, found.extra) == ({}, [])


def test_a_layout_says_how_many_pictures_it_holds():
    DPG.check(4)
    with pytest.raises(ValueError, match="dpg holds 1 or 4 per prompt, got 3"):
        DPG.check(3)
    with pytest.raises(ValueError, match="wise holds 1 per prompt, got 4"):
        WISE.check(4)
    with pytest.raises(ValueError, match="geneval holds 1 or more"):
        GENEVAL.check(0)


def test_a_grid_is_made_again_where_a_sample_is_younger(tmp_path):
    asked = items()
    written(tmp_path, DPG, asked, 4)
    grid = tmp_path / "images" / "3.png"
    before = grid.stat().st_mtime_ns
    DPG.finish(tmp_path, asked[0], 4)
    assert grid.stat().st_mtime_ns == before
    (tmp_path / "samples" / "3" / "00002.png").write_bytes(png(Image.new("RGB", (16, 16), "white")))
    DPG.finish(tmp_path, asked[0], 4)
    assert np.asarray(Image.open(grid))[31, 0].tolist() == [255, 255, 255]


def test_a_tile_of_the_wrong_size_and_a_grid_that_does_not_divide_are_named(tmp_path):
    path = tmp_path / "3.png"
    path.write_bytes(png(Image.new("RGB", (33, 32))))
    with pytest.raises(ValueError, match=r"expected a grid of 2 x 2 tiles, got 33 x 32 pixels"):
        Tile(path, 0, 4).open()
    path.write_bytes(png(Image.new("RGB", (32, 32))))
    assert Tile(path, 0, 4, (16, 16)).open().size == (16, 16)
    with pytest.raises(ValueError, match=r"3\.png, tile 2 of 4: expected 20 x 20 pixels, got 16 x 16"):
        Tile(path, 1, 4, (20, 20)).open()


def test_a_picture_is_whole_only_to_its_last_pixel(tmp_path):
    path, noise = tmp_path / "x.png", np.random.default_rng(0).integers(256, size=(40, 40, 3), dtype=np.uint8)
    path.write_bytes(png(Image.fromarray(noise)))
    assert whole(path)
    path.write_bytes(path.read_bytes()[:-40])
    assert not whole(path)
    assert not whole(tmp_path / "nothing.png")


def test_a_grid_of_several_sizes_is_refused():
    with pytest.raises(ValueError, match="pictures of one size"):
        grid_of([Image.new("RGB", (8, 8)), Image.new("RGB", (9, 8))])


def test_every_layout_has_its_name():
    assert {name: layout.name for name, layout in LAYOUTS.items()} == {name: name for name in LAYOUTS}
