"""Probes of encoders that tell all, nothing, or are real; runs, models and random weights as sides."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from tests.model.small import small_model
from unimm.app.cli import main as unimm
from unimm.evaluation.paired import paired_row
from unimm.evaluation.probe import TASKS, Settings, features, fresh, main, open_encoder, probed, scenes_of
from unimm.latents.encoder import EncoderConfig, build_encoder
from unimm.model import UniMM
from unimm.world.held_out import in_scene
from unimm.world.render import render

SMALL = Settings(limit=40, train=120)
SIZES = {"image_size": 8, "patch_size": 4, "width": 16, "depth": 1, "heads": 2, "mlp_width": 16}


class Knowing:
    """An encoder whose latents hold the truth about a scene, linearly, spread over two tokens."""

    def __init__(self, settings: Settings):
        self.config = SimpleNamespace(image_size=80)
        generator = torch.Generator().manual_seed(0)
        counts = {"training": settings.train, "held_in": settings.limit, "held_out": settings.limit}
        self.known = {}
        for stream, count in counts.items():
            for scene in scenes_of(stream, count, settings.seed):
                truth = [float(name == task.of(scene)) for task in TASKS.values() for name in task.classes]
                self.known[render(scene, 80).tobytes()] = torch.tensor(truth)
        self.mixed = torch.randn(len(truth), len(truth) + 3, generator=generator)

    def encode(self, pixels):
        pictures = (pixels * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        told = (
            torch.stack([self.known[np.ascontiguousarray(each).tobytes()] for each in pictures]) @ self.mixed
        )
        return torch.stack([told * 2, torch.zeros_like(told)], 1)


class Blind:
    """An encoder that sees nothing: every picture gives other noise."""

    def __init__(self):
        self.config, self.generator = SimpleNamespace(image_size=80), torch.Generator().manual_seed(0)

    def encode(self, pixels):
        return torch.randn(len(pixels), 2, 8, generator=self.generator)


def test_what_is_linear_in_the_latents_is_read_without_a_mistake():
    right = probed(Knowing(SMALL), SMALL)
    assert right.keys() == {f"{split} {task}" for split in ("held_in", "held_out") for task in TASKS}
    assert all(each.all() and len(each) == 40 for each in right.values())


def test_a_blind_encoder_is_at_chance_and_the_gain_is_paired():
    settings = Settings(limit=200, train=200)
    blind = probed(Blind(), settings)
    for name, task in TASKS.items():
        chance = 1 / len(task.classes)
        error = (chance * (1 - chance) / 200) ** 0.5
        assert abs(blind[f"held_in {name}"].mean() - chance) < 4 * error, name
    one = blind["held_in shape"]
    row = paired_row(one, ~one | one)
    assert row["gain"].mean == pytest.approx(1 - one.mean())
    assert row["gain"].low <= row["gain"].mean <= row["gain"].high
    assert row["before"].n == row["gain"].n == 200


def test_pictures_are_held_in_or_out_and_no_stream_repeats_another():
    streams = {name: scenes_of(name, 30) for name in ("training", "held_in", "held_out")}
    assert [any(map(in_scene, scenes)) for scenes in streams.values()] == [False, False, True]
    assert all(map(in_scene, streams["held_out"]))
    assert not {*streams["training"]} & {*streams["held_in"]}
    assert scenes_of("held_in", 5) == streams["held_in"][:5] != scenes_of("held_in", 5, seed=1)


def test_features_are_the_mean_over_tokens_of_renders_at_the_encoders_size():
    encoder, scenes = fresh(EncoderConfig(**SIZES), 0), scenes_of("held_in", 3)
    shown = (
        torch.from_numpy(np.stack([render(scene, 80) for scene in scenes])).permute(0, 3, 1, 2).float() / 255
    )
    small = torch.nn.functional.interpolate(shown, size=8, mode="bilinear", antialias=True)
    torch.testing.assert_close(features(encoder, scenes).float(), encoder.encode(small).mean(1))


@pytest.fixture
def run(tmp_path):
    """A run's folder as the encoder stage leaves it: its recipe and two checkpoints with averages."""
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"encoder": SIZES, "tokenizer": "words"}))
    for step in (1, 2):
        folder = tmp_path / "checkpoints" / f"step-{step:08d}"
        folder.mkdir(parents=True)
        (folder / "state.json").write_text(json.dumps({"step": step}))
        for name, seed in (("weights", step), ("ema", 10 + step)):
            state = fresh(EncoderConfig(**SIZES), seed).state_dict()
            save_file(
                {f"encoder.{key}": value.contiguous() for key, value in state.items()},
                folder / f"{name}.safetensors",
            )
    return tmp_path


def test_a_runs_newest_averages_are_probed_beside_random_weights(run, tmp_path, capsys):
    words = ["eval", "probe", "random", str(run), "--limit", "20", "--train", "60", "--seed", "12"]
    with pytest.raises(SystemExit) as stop:
        unimm([*words, "--json", str(tmp_path / "card.json")])
    assert stop.value.code == 0
    card = json.loads((tmp_path / "card.json").read_text())["card"]
    for row in card.values():  # the newest averages are the weights of seed 12
        assert row["gain"] == {"mean": 0.0, "low": 0.0, "high": 0.0, "n": 20}
    assert "held out colour" in capsys.readouterr().out


def test_a_models_encoder_is_probed(tmp_path):
    small_model().save_pretrained(tmp_path / "model")
    found = open_encoder(str(tmp_path / "model"), lambda source, name: {})
    pixels = torch.rand(2, 3, found.config.image_size, found.config.image_size)
    expected = UniMM.from_pretrained(tmp_path / "model").encoder.encode(pixels)
    torch.testing.assert_close(found.encode(pixels), expected)


def test_random_weights_leave_other_random_numbers_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first, second = fresh(EncoderConfig(**SIZES), 0), fresh(EncoderConfig(**SIZES), 0)
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        (["tiny", "random"], ValueError, "AFTER: expected an encoder"),
        (["random", "tinny"], ValueError, "did you mean 'tiny'"),
        (["random", "{run}", "--limit", "1"], ValueError, "--limit: expected 2 or more, got 1"),
        (["random", "{run}", "--train", "2"], ValueError, "--train: expected 3 or more, got 2"),
        (["random", "{run}", "--json", "/nowhere/x.json"], FileNotFoundError, "--json: there is no folder"),
        (["random", "{run}"], ValueError, "config.yaml: expected the sizes of an encoder"),
    ],
)
def test_what_cannot_be_probed_is_refused(tmp_path, words, error, said):
    (tmp_path / "config.yaml").write_text("tokenizer: words\n")
    with pytest.raises(error, match=said):
        main([word.format(run=tmp_path) for word in words], lambda source, name: {})


def test_a_run_that_names_no_encoder_of_its_own_is_refused(tmp_path):
    (tmp_path / "config.yaml").write_text("start: tiny\nencoder: null\n")
    with pytest.raises(ValueError, match=r"config.yaml: expected the sizes of an encoder"):
        open_encoder(str(tmp_path), lambda source, name: {})


def test_missing_weights_are_told(run):
    state = build_encoder(EncoderConfig(**SIZES)).state_dict()
    name = next(iter(state))
    with pytest.raises(ValueError, match=name):
        open_encoder(str(run), lambda source, module: {k: v for k, v in state.items() if k != name})
