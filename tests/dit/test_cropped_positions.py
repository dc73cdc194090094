"""The MM-DiT's position table: its scale and its crops."""

from __future__ import annotations

import numpy as np
import torch

from unimm.dit.positions import CroppedPositions, centred_coordinates, sine_axis
from unimm.shapes import sincos_table


def test_the_centre_of_the_table_spans_what_the_first_stage_saw():
    # 256 pixels first, then 1024 with sides up to 1536, patches of 16 pixels: (p - (96 - 64) / 2) / 4.
    coordinates = centred_coordinates(table=96, side=64, pretrained=16)
    assert coordinates[16] == 0
    assert coordinates[16 + 64] == 16
    assert coordinates[0] == -4
    assert np.allclose(np.diff(coordinates), 256 / 1024)


def test_without_a_first_stage_and_without_room_the_table_is_the_usual_one():
    positions = CroppedPositions(32, table=6, side=6, pretrained=6)
    torch.testing.assert_close(positions(6, 6), sincos_table(6, 32), atol=1e-6, rtol=0)


def test_a_crop_is_the_middle_of_the_table():
    positions = CroppedPositions(16, table=8, side=4, pretrained=4)
    whole, crop = positions(8, 8).unflatten(0, (8, 8)), positions(3, 6).unflatten(0, (3, 6))
    assert torch.equal(crop, whole[2:5, 1:7])
    column, row = sine_axis(np.array([-2.0 + 1 + 5]), 8), sine_axis(np.array([-2.0 + 2 + 1]), 8)
    torch.testing.assert_close(crop[1, 5], torch.cat([column, row], dim=1)[0])
