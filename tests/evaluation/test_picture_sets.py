"""Folders of pictures measured as sets, in pairs and with texts; what cannot be measured is named."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from tests.evaluation.judges.small_models import save_clip
from unimm.app.cli import main
from unimm.evaluation.judges.table import load_judge
from unimm.evaluation.metrics import Backbone, clip_score, frechet_distance, moments, psnr, ssim
from unimm.evaluation.picture_sets import (
    find_set,
    pair_statistics,
    read_texts,
    set_statistics,
    squared,
    text_statistics,
)

MEANS = Backbone("means", lambda pictures: pictures.mean((1, 2)))


def noise(count, seed=0, side=16):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def folder_of(folder, pictures):
    folder.mkdir(parents=True)
    for index, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{index:03d}.png")
    return folder


def test_sets_are_those_of_their_arrays(tmp_path):
    real, drawn = noise(70), noise(20, 1)
    found = set_statistics(
        find_set(folder_of(tmp_path / "a", real)), find_set(folder_of(tmp_path / "b", drawn)), MEANS
    )
    exact = frechet_distance(moments(real.mean((1, 2))), moments(drawn.mean((1, 2))))
    assert found["frechet@means"] == pytest.approx(exact)
    assert set(found) == {"frechet@means", "kernel@means", "precision@means", "recall@means"}


def test_pairs_are_those_of_their_arrays_over_any_number_of_pieces(tmp_path):
    true, got = noise(70), noise(70, 1)
    pair = [find_set(folder_of(tmp_path / name, each)) for name, each in (("a", true), ("b", got))]
    found = pair_statistics(*pair)
    assert found["psnr"].mean == pytest.approx(psnr(true, got).mean())
    assert found["ssim_gaussian"].mean == pytest.approx(ssim(true, got).mean())
    assert found["psnr"].n == 70
    assert found["psnr"].low < found["psnr"].mean < found["psnr"].high


def test_a_picture_without_fellow_is_named(tmp_path):
    pair = [find_set(folder_of(tmp_path / name, noise(count))) for name, count in (("a", 3), ("b", 2))]
    with pytest.raises(ValueError, match="expected pictures of the same names .* without fellow '002'"):
        pair_statistics(*pair)


def test_pictures_of_several_sizes_are_refused_or_scaled(tmp_path):
    folder = folder_of(tmp_path / "a", noise(2))
    Image.fromarray(noise(1, 2, 40)[0]).crop((0, 0, 40, 24)).save(folder / "x.png")
    with pytest.raises(ValueError, match=r"x\.png: expected 16 x 16 pixels as 000\.png, got 40 x 24; --size"):
        list(find_set(folder).pieces())
    assert next(find_set(folder, 8).pieces()).shape == (3, 8, 8, 3)


def test_the_grids_of_geneval_s_layout_are_no_pictures_of_the_set(tmp_path):
    folder_of(tmp_path / "a" / "00000" / "samples", noise(2))
    Image.fromarray(noise(1)[0]).save(tmp_path / "a" / "00000" / "grid.png")
    Image.fromarray(noise(1)[0]).save(tmp_path / "a" / "grid.png")  # no samples beside it
    names = ("00000/samples/000.png", "00000/samples/001.png", "grid.png")
    assert find_set(tmp_path / "a").names == names


def test_a_square_is_the_middle_of_the_scaled_picture():
    image = Image.new("RGB", (90, 30), "red")
    image.paste("blue", (30, 0, 60, 30))
    middle = np.asarray(squared(image, 10))
    assert middle.shape == (10, 10, 3)
    assert (middle[:, 1:9] == (0, 0, 255)).all()  # the edges are mixed by the filter
    same = noise(1)[0]
    assert np.array_equal(np.asarray(squared(Image.fromarray(same), 16)), same)


def test_a_broken_picture_and_an_empty_folder_are_named(tmp_path):
    folder = folder_of(tmp_path / "a", noise(2))
    data = (folder / "001.png").read_bytes()
    (folder / "001.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"001\.png: damaged or cut short"):
        list(find_set(folder).pieces())
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="expected pictures .* found none"):
        find_set(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="there is no folder of pictures"):
        find_set(tmp_path / "nowhere")


def test_texts_are_scored_by_the_cosine_of_their_pictures(tmp_path):
    embedder = load_judge("embedder", f"clip:{save_clip(tmp_path / 'clip')}")
    pictures = noise(3, side=32)
    texts = {"000": "a red cup", "001": "two dogs", "002": "a bench"}
    (tmp_path / "texts.json").write_text(json.dumps({f"{name}.png": text for name, text in texts.items()}))
    assert read_texts(tmp_path / "texts.json") == texts
    shown = find_set(folder_of(tmp_path / "a", pictures))
    found = text_statistics(shown, texts, embedder)
    rows = embedder.images([*map(Image.fromarray, pictures)]), embedder.texts(list(texts.values()))
    assert found["clip_score_w2.5@clip"].mean == pytest.approx(clip_score(*rows).mean(), abs=1e-6)
    assert found["clip_score_x100@clip"].n == 3
    with pytest.raises(ValueError, match="got none for '002'"):
        text_statistics(shown, {"000": "x", "001": "y"}, embedder)


def test_the_command_measures_a_model_on_pictures_and_keeps_the_numbers(tmp_path, capsys):
    folder = folder_of(tmp_path / "real", noise(5, side=80))
    words = [str(folder), "--through", "tiny", "--features", "own:tiny", "--pairs", "--out"]
    with pytest.raises(SystemExit) as left:
        main(["eval", "pictures", *words, str(tmp_path / "card.json")])
    assert left.value.code == 0
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["sets"].keys() == {"frechet@tiny", "kernel@tiny", "precision@tiny", "recall@tiny"}
    assert card["pictures"]["psnr"]["n"] == card["of"]["real"]["n"] == 5
    assert card["through"]["name"] == "tiny"
    assert "frechet@tiny" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nothing to measure"),
        (("--pairs",), "expected a second folder, or --through MODEL"),
        (("--through", "tiny", "--pairs", "--texts", "x.json"), "--texts: it goes with --embedder"),
        (("--through", "tiny", "--features", "incepton:x"), "did you mean 'inception'"),
        (("--through", "tiny", "--features", "own"), "--features: expected own:FILE, FOLDER or name"),
        (("--through", "tiny", "--distance", "lpips_vgg:none"), "none"),
    ],
)
def test_a_mistake_is_one_line(words, said, tmp_path, capsys):
    folder = folder_of(tmp_path / "real", noise(4))
    with pytest.raises(SystemExit) as left:
        main(["eval", "pictures", str(folder), *words])
    assert left.value.code == 2
    assert said in capsys.readouterr().err
