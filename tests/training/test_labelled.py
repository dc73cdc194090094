"""The class-conditional stage on folders of pictures: classes, stand-ins for broken files, kept latents."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.generators import BY_CLASS
from tests.training.road import run_of
from unimm.config import build
from unimm.data.crops import centre_crop
from unimm.data.skipped import read_skipped
from unimm.training.class_conditional import ClassRecipe, ClassStage
from unimm.training.log import read_metrics
from unimm.training.loop import train

PIXELS = {"kind": "pixels", "patch_size": 4, "image_size": 12}
BODY = {**BY_CLASS, "kind": "lightning", "channels": 48, "width": 64, "grid": 3, "num_classes": 3}


@pytest.fixture
def folders(tmp_path):
    """Three classes of four pictures, one of which is none."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(("n01", "n02", "n03")):
        folder = tmp_path / "imagenet" / name
        folder.mkdir(parents=True)
        for place in range(4):
            pixels = rng.integers(0, 256, (14 + place, 20, 3), dtype=np.uint8)
            pixels[..., 0] = 80 * number  # so that a picture shows its class
            Image.fromarray(pixels).save(folder / f"{place}.png")
    (tmp_path / "imagenet" / "n02" / "1.png").write_bytes(b"no picture")
    return tmp_path / "imagenet"


def recipe(tmp_path, folders, **changes) -> ClassRecipe:
    values = {
        "train": run_of(tmp_path, "by_class"),
        "generator": {"body": BODY, "latents": PIXELS},
        "data": {"path": str(folders), "pixels": 12},
    }
    return build(ClassRecipe, {**values, **changes})


def test_labels_belong_to_their_pictures_and_broken_ones_are_replaced_and_listed(tmp_path, folders):
    stage = ClassStage(recipe(tmp_path, folders))
    batch = stage.batch(0, 24)
    assert torch.equal((batch["pixels"][:, 0].mean((1, 2)) * 255 / 80).round().long(), batch["labels"])
    assert batch["labels"].bincount().tolist() == [8, 8, 8]
    told = read_skipped(tmp_path / "by_class")
    assert [line["kind"] for line in told] == ["picture"] * 2
    assert stage.counts() == {"skipped_samples": 2}
    picture = np.asarray(Image.open(folders / "n01" / "0.png"))
    assert torch.equal(
        stage.store.pixels_of([0])[0] * 255, torch.tensor(centre_crop(picture, 12)).permute(2, 0, 1)
    )


@pytest.mark.parametrize("kind", ["bf16", "int8"])
def test_kept_latents_train_without_opening_a_picture(tmp_path, folders, kind, monkeypatch):
    fresh = ClassStage(recipe(tmp_path, folders)).batch(0, 12)
    given = recipe(tmp_path, folders, latents=str(tmp_path / kind), latents_kind=kind)
    stage = ClassStage(given)
    monkeypatch.setattr(stage.store, "_cut", lambda index: pytest.fail("opened"))
    kept = stage.batch(0, 12)
    assert torch.equal(kept["labels"], fresh["labels"])
    torch.testing.assert_close(
        kept["latents"], stage.model.encode_image(fresh["pixels"]), rtol=0.02, atol=0.02
    )
    train(given.train, stage, given)
    assert read_metrics(given.train.output)[-1]["skipped_samples"] >= 0


def test_what_cannot_be_is_refused(tmp_path, folders):
    with pytest.raises(ValueError, match="expected 3, as .*imagenet has, got 72"):
        ClassStage(
            recipe(tmp_path, folders, generator={"body": {**BODY, "num_classes": 72}, "latents": PIXELS})
        )
    with pytest.raises(ValueError, match="expected either pictures .* got neither"):
        recipe(tmp_path, folders, data=None)
    for path in (folders / "n02").iterdir():
        path.write_bytes(b"no picture")
    for path in (folders / "n01").iterdir():
        path.write_bytes(b"no picture")
    for path in (folders / "n03").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(ValueError, match="none of 100 samples from position 0 on can be used"):
        ClassStage(recipe(tmp_path, folders)).batch(0, 1)
