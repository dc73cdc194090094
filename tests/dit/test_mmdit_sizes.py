"""The MM-DiT's published sizes, counted by hand."""

from __future__ import annotations

import pytest
import torch

from unimm.dit.mmdit import MMDiT, depth_sizes
from unimm.dit.presets import preset


def num_parameters(name):
    kind, config = preset(name)
    assert kind == "mmdit"
    with torch.device("meta"):
        return sum(p.numel() for p in MMDiT(config).parameters())


@pytest.mark.parametrize(("depth", "billions"), [(15, 0.50), (18, 0.86), (24, 2.04), (30, 3.98), (38, 8.09)])
def test_one_number_says_the_size(depth, billions):
    w = 64 * depth
    assert depth_sizes(depth) == {"width": w, "depth": depth, "heads": depth}
    stream = 6 * w * w + 4 * w * w + 2 * 4 * w * w + (6 + 4 + 5) * w  # modulation, attention, MLP
    last = stream - (4 + 1 + 8) * w * w - (4 + 1 + 5) * w
    outside = (64 + 256 + w + 2048 + w + 4096 + 2 * w + 64) * w + (1 + 2 + 2 + 1 + 2) * w + 64
    count = num_parameters(f"MM-DiT d={depth}")
    assert count == (2 * depth - 1) * stream + last + outside
    assert count == pytest.approx(billions * 1e9, rel=0.01)


@pytest.mark.parametrize(
    ("name", "count"),
    [("SD3-medium", 2_028_328_000), ("SD3.5-medium", 2_243_171_520), ("SD3.5-large", 8_056_627_520)],
)
def test_published_sizes(name, count):
    assert num_parameters(name) == count
