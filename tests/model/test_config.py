"""A configuration goes to JSON and back, and rooms that do not fit together are refused by name."""

from __future__ import annotations

import dataclasses
import json

import pytest

from tests.model.small import small_model, small_settings
from unimm.model import UniMMConfig


def test_settings_survive_json():
    settings = small_settings(connector_depth=1, null_probability=0.25)
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
