"""Patches against a convolution, and against the picture that they came from."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from unimm.dit.patches import gather_patches, scatter_patches


def latents(rows=4, columns=6, channels=3):
    return torch.randn(2, rows * columns, channels, generator=torch.Generator().manual_seed(0))


def test_gathered_patches_times_flat_weights_are_the_convolution():
    x, weight = latents(), torch.randn(5, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    maps = x.mT.unflatten(2, (4, 6))
    wanted = F.conv2d(maps, weight, stride=2).flatten(2).mT
    torch.testing.assert_close(gather_patches(x, 4, 6, 2) @ weight.flatten(1).mT, wanted)


def test_scattered_patches_lie_where_they_belong():
    picture = torch.arange(4 * 6 * 3).reshape(4, 6, 3)
    tokens = torch.stack(
        [picture[i : i + 2, j : j + 2].flatten() for i in range(0, 4, 2) for j in range(0, 6, 2)]
    )
    assert torch.equal(scatter_patches(tokens[None], 4, 6, 2)[0], picture.flatten(0, 1))


def test_a_patch_of_one_changes_nothing():
    x = latents()
    assert gather_patches(x, 4, 6, 1) is x
    assert scatter_patches(x, 4, 6, 1) is x


@pytest.mark.parametrize("move", [gather_patches, scatter_patches])
def test_a_remainder_is_refused(move):
    with pytest.raises(ValueError, match="multiples of the patch size 2, got 4 x 5"):
        move(latents(4, 5), 4, 5, 2)
