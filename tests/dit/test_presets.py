"""Published sizes: counted without memory, they are those of the papers and of the published code."""

from __future__ import annotations

import pytest
import torch

from unimm.dit.bodies import body_classes
from unimm.dit.presets import PRESETS, preset

MILLIONS = {
    # Counted from the published code, with the sine table.
    "DiT^DH-S": 196.5,
    "DiT^DH-B": 294.3,
    "DiT^DH-L": 621.7,
    "DiT^DH-XL": 838.7,
    "DiT^DH-XL 512": 839.6,
    "RAE DiT-S": 33.7,
    "RAE DiT-B": 131.9,
    "RAE DiT-L": 459.9,
    "RAE DiT-XL": 677.3,
    "LightningDiT-B": 130.6,
    "LightningDiT-XL": 675.3,
    "LightningDiT-1p0B": 1029,
    "LightningDiT-1p6B": 1632,
    "Scale-RAE 0.5B": 481,
    "Scale-RAE 2.4B": 2436,
    "Scale-RAE 3.1B": 3082,
    "Scale-RAE 5.5B": 5475,
    "Scale-RAE 9.8B": 9729,
}


def numbers_in(name):
    """Return parameters and sine table, in millions."""
    kind, config = preset(name)
    with torch.device("meta"):
        body = body_classes(kind)[1](config)
    return (sum(p.numel() for p in body.parameters()) + body.positions.numel()) / 1e6


@pytest.mark.parametrize("name", MILLIONS)
def test_a_published_size_has_the_published_number_of_parameters(name):
    wanted = MILLIONS[name]
    unit = 1 if isinstance(wanted, int) else 0.1  # the last digit that is given
    assert abs(numbers_in(name) - wanted) < 0.6 * unit


def test_the_wide_head_adds_what_the_paper_says():
    added = numbers_in("Scale-RAE 0.5B wide head") - numbers_in("Scale-RAE 0.5B")
    assert added == pytest.approx(279.6, abs=0.05)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_config_of_its_kind(name):
    kind, config = PRESETS[name]
    assert isinstance(config, body_classes(kind)[0])


def test_an_unknown_size_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"did you mean 'DiT\^DH-XL'"):
        preset("DiTDH-XL")
