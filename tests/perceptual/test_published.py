"""LPIPS from the files its authors publish: only from these, and equal to the package's own."""

from __future__ import annotations

import hashlib

import pytest
import torch

from unimm.perceptual import load_published_lpips, published
from unimm.perceptual.lpips import network_of
from unimm.perceptual.published import Published


@pytest.fixture
def backbone(tmp_path, monkeypatch):
    """An AlexNet of random weights in torchvision's form, taken for the published one; and LPIPS with it."""
    torch.manual_seed(0)
    network = network_of("alex")
    state = {
        f"features.{name.split('.', 2)[2]}": x
        for name, x in network.state_dict().items()
        if name.startswith("net.")
    }
    path = tmp_path / "alexnet.pth"
    torch.save(state, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(published, "BACKBONES", {"alex": Published("alexnet.pth", digest[:8], "df73285e")})
    return path, network


def test_the_backbone_is_put_where_the_package_has_it(backbone):
    path, network = backbone
    pixels, other = torch.rand(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    expected = network(2 * pixels - 1, 2 * other - 1).flatten()
    ours = load_published_lpips(path, "alex")
    assert expected.min() > 0
    torch.testing.assert_close(ours(pixels, other), expected)
    assert ours(pixels, pixels).tolist() == [0, 0]


def test_other_files_are_refused(backbone, tmp_path):
    path, _ = backbone
    path.write_bytes(path.read_bytes() + b"0")
    with pytest.raises(ValueError, match=r"torchvision's alexnet\.pth.*expected a file whose sha256 begins"):
        load_published_lpips(path, "alex")
    with pytest.raises(FileNotFoundError, match="no file at"):
        load_published_lpips(tmp_path / "none.pth", "alex")
    with pytest.raises(ValueError, match="did you mean 'alex'"):
        load_published_lpips(path, "alexnet")


def test_published_backbones_carry_their_hash_in_their_name():
    assert published.BACKBONES.keys() == {"vgg", "alex"}
    for each in published.BACKBONES.values():
        assert each.file.endswith(f"-{each.sha256}.pth")
        assert len(each.sha256) == 8
