"""A configuration goes to JSON and back, and rooms that do not fit together are refused by name."""

from __future__ import annotations

import dataclasses
import json

import pytest

from tests.model.small import BODIES, VAE, small_model, small_settings
from unimm.dit.config import DiTConfig
from unimm.dit.mmdit_config import MMDiTConfig
from unimm.model import UniMMConfig


@pytest.mark.parametrize(
    "changes",
    [
        {"connector_depth": 1, "null_probability": 0.25},
        VAE,
        *({"body": name, "dit": dit} for name, dit in BODIES.items()),
    ],
    ids=["numbers", "vae", *BODIES],
)
def test_settings_survive_json(changes):
    settings = small_settings(**changes)
    text = UniMMConfig(settings).to_json_string()
    values = json.loads(text)
    assert values["model_type"] == "unimm"
    assert UniMMConfig.from_dict(values).settings == settings


def test_a_query_count_that_differs_from_the_grid_is_named():
    with pytest.raises(ValueError, match="num_queries: expected 9, .* 3 x 3 latent grid, got 16"):
        small_settings(num_queries=16)


@pytest.mark.parametrize(
    ("room", "change", "words"),
    [
        ("encoder", {"image_size": 16}, r"dit\.grid: expected 16 tokens"),
        ("encoder", {"width": 12}, r"dit\.channels: expected the encoder's width 12, got 8"),
        ("decoder", {"channels": 4}, "decoder: expected channels=8"),
        ("decoder", {"grid": 4}, "grid=3 as in dit, got channels=8 and grid=4"),
    ],
)
def test_rooms_that_do_not_fit_are_named(room, change, words):
    other = dataclasses.replace(getattr(small_settings(), room), **change)
    with pytest.raises(ValueError, match=words):
        small_settings(**{room: other})


def test_an_unknown_key_is_suggested():
    values = json.loads(UniMMConfig(small_settings()).to_json_string())["settings"]
    values["conector_depth"] = values.pop("connector_depth")
    with pytest.raises(ValueError, match="did you mean 'connector_depth'"):
        UniMMConfig(values)


def test_depths_are_those_asked_for():
    model = small_model(connector_depth=1, projector_depth=3)
    assert [len(room.layers) for room in (model.connector, model.projector)] == [1, 5]


def test_alpha_is_the_dimension_dependent_shift():
    assert small_settings().alpha == pytest.approx((9 * 8 / 4096) ** 0.5)


def test_a_body_is_one_of_those_that_take_vectors():
    mmdit = MMDiTConfig(channels=8, width=16, depth=1, heads=2, grid=3, sequence_width=8, pooled_width=8)
    with pytest.raises(ValueError, match="did you mean 'lightning'"):
        small_settings(body="lightening")
    with pytest.raises(ValueError, match="body: expected one of lightning, ddt, sit, got 'mmdit'"):
        small_settings(body="mmdit", dit=mmdit)
    with pytest.raises(ValueError, match="dit: expected a DDTConfig for the body 'ddt', got a DiTConfig"):
        small_settings(body="ddt")
    with pytest.raises(ValueError, match=r"dit\.num_classes: expected null"):
        small_settings(dit=dataclasses.replace(small_settings().dit, num_classes=10))
    with pytest.raises(ValueError, match="dit: unknown key 'head_width'"):
        small_settings(dit={**dataclasses.asdict(small_settings().dit), "head_width": 9})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"drawn": {"kind": "flux_vea"}}, "did you mean 'flux_vae'"),
        ({"drawn": {"packing": 2}}, r"drawn\.kind: expected one of rae, "),
        ({"drawn": {**VAE["drawn"], "pakcing": 2}}, "drawn: unknown key 'pakcing'; did you mean 'packing'"),
        ({"dit": dataclasses.replace(VAE["dit"], channels=8)}, "dit: expected channels=12 and grid=3 as in"),
        ({"decoder": small_settings().decoder}, "decoder: expected null"),
        ({"sees_raw": True}, "sees_raw: expected false"),
        ({"drawn": None, "dit": small_settings().dit}, "decoder: expected the sizes of one"),
    ],
)
def test_drawn_latents_that_do_not_fit_are_named(changes, words):
    with pytest.raises(ValueError, match=words):
        small_settings(**{**VAE, **changes})


def test_sizes_follow_what_is_drawn():
    settings = small_settings(**VAE)
    assert (settings.num_latents, settings.image_size, settings.target_size) == (9, 12, 12)
    assert settings.alpha == pytest.approx((9 * 12 / 4096) ** 0.5)
    assert not settings.sees_drawn
    assert small_settings().sees_drawn
    assert not small_settings(sees_raw=True).sees_drawn


def test_patches_of_drawn_latents_need_fewer_queries_than_latents():
    drawn = {**VAE["drawn"], "packing": 1}  # 6 x 6 tokens of 3 channels
    dit = DiTConfig(channels=3, width=16, depth=1, heads=2, condition_width=12, grid=6, patch_size=2)
    settings = small_settings(**{**VAE, "drawn": drawn, "dit": dit})
    assert (settings.num_queries, settings.num_latents) == (9, 36)
