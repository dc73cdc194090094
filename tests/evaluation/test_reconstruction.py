"""Before and after a decoder's training: held-out pictures, paired gains, VAEs beside models, refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from unimm.evaluation import reconstruction
from unimm.evaluation.metrics.features import Distance
from unimm.evaluation.reconstruction import Codec, compared, held_out_scenes, main, open_codec
from unimm.latents.vae import VAE, VAEConfig
from unimm.latents.vae_folder import vae_facts
from unimm.weights.folder import DIFFUSERS_STEM, save_folder
from unimm.world.held_out import in_scene


@pytest.fixture
def vae(tmp_path):
    torch.manual_seed(0)
    made = VAE(VAEConfig(4, 1.0, widths=(8, 8), layers_per_block=1, norm_groups=2, image_size=16))
    save_folder(made.tower.state_dict(), vae_facts(made.config), tmp_path / "vae", stem=DIFFUSERS_STEM)
    return tmp_path / "vae", made


@pytest.fixture(autouse=True)
def near_distance(monkeypatch):
    """Mean differences in place of tiny's eyes, whose loading takes seconds."""
    far = Distance("tiny", lambda a, b: (a - b).abs().mean((1, 2, 3)), sort="perceptual")
    monkeypatch.setattr(reconstruction, "tiny_distance", lambda: far)


def test_scenes_show_what_was_held_out_and_longer_lists_begin_alike():
    found = held_out_scenes(12)
    assert all(in_scene(scene) for scene in found)
    assert held_out_scenes(5) == found[:5]
    assert held_out_scenes(5, seed=1) != found[:5]


def test_changes_are_paired():
    rng = np.random.default_rng(0)
    pictures = rng.integers(60, 200, (40, 16, 16, 3), np.uint8)
    noise = rng.integers(0, 40, (40, 1, 1, 1))  # some pictures are harder than others
    before = Codec("before", lambda p: (p + noise[: len(p)] + 4).astype(np.uint8), 16)
    after = Codec("after", lambda p: (p + noise[: len(p)] + 2).astype(np.uint8), 16)
    card = compared(before, after, pictures)
    assert card.keys() == {"psnr", "ssim_gaussian", "ssim_uniform", "perceptual@tiny"}
    change = card["perceptual@tiny"]["change"]
    assert change.mean == pytest.approx(-2 / 255, rel=1e-4)
    assert change.high - change.low < 1e-6  # the same for every picture, however hard
    assert card["perceptual@tiny"]["before"].high - card["perceptual@tiny"]["before"].low > 0.005
    assert card["psnr"]["change"].low > 0


@torch.no_grad()
def test_a_vae_s_folder_is_a_side(vae):
    folder, made = vae
    pictures = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    expected = made.eval().decode(made.encode(pixels)).mul(255).round().permute(0, 2, 3, 1)
    found = open_codec(str(folder))
    assert np.abs(found.pass_on(pictures) - expected.numpy()).max() <= 1
    assert found.size is None


def test_the_command_writes_card_and_pictures(vae, tmp_path, capsys):
    folder = str(vae[0])
    card, sheet = tmp_path / "card.json", tmp_path / "sheet.png"
    main(
        [
            "--before",
            folder,
            "--after",
            folder,
            "--size",
            "16",
            "--pictures",
            "5",
            "--json",
            str(card),
            "--sheet",
            str(sheet),
        ]
    )
    written = json.loads(card.read_text())
    assert written["card"]["psnr"]["change"] == {"mean": 0.0, "low": 0.0, "high": 0.0, "n": 5}
    assert sheet.stat().st_size > 0
    shown = capsys.readouterr().out
    assert "perceptual@tiny (lower is better)" in shown
    assert "psnr (higher is better)" in shown


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        (["--size", "16", "--pictures", "1"], ValueError, "--pictures: expected 2 or more, got 1"),
        ([], ValueError, "expected one size of pictures for both sides, got None; both take any"),
        (["--size", "16", "--json", "/nowhere/x.json"], FileNotFoundError, "there is no folder '/nowhere'"),
        (["--sizes", "16"], ValueError, "unrecognized arguments"),
    ],
)
def test_what_cannot_be_measured_is_refused(vae, more, error, message):
    with pytest.raises(error, match=message):
        main(["--before", str(vae[0]), "--after", str(vae[0]), *more])


def test_a_name_that_is_neither_is_refused():
    with pytest.raises(ValueError, match="did you mean 'tiny'"):
        open_codec("tinny")
