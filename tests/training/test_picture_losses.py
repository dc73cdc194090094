"""The losses of reconstructed pictures where they look through LPIPS's own network."""

from __future__ import annotations

import hashlib

import pytest
import torch

from unimm.perceptual import gram_distance, published
from unimm.perceptual.lpips import network_of
from unimm.perceptual.published import Published
from unimm.training.picture_losses import PerceptualRecipe, PictureCritic, PictureLosses
from unimm.training.recipe import OptimRecipe, TrainRecipe

TRAIN = TrainRecipe("run", 4, 2, OptimRecipe(lr=1e-3))


@pytest.fixture
def backbone(tmp_path, monkeypatch):
    """An AlexNet of random weights in torchvision's form, taken for the published one; and LPIPS with it."""
    torch.manual_seed(0)
    network = network_of("alex").eval()
    names = {name: name.split(".", 2)[2] for name in network.state_dict() if name.startswith("net.")}
    path = tmp_path / "alexnet.pth"
    torch.save({f"features.{end}": network.state_dict()[name] for name, end in names.items()}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(published, "BACKBONES", {"alex": Published("alexnet.pth", digest[:8], "df73285e")})
    return str(path), network


def no_encoder():
    raise AssertionError("LPIPS needs no encoder")


def test_lpips_and_gram_matrices_of_its_features_make_the_loss(backbone):
    path, network = backbone
    recipe = PictureLosses(PerceptualRecipe(1.0, gram=100.0, backbone="lpips_alex", weights=path))
    losses = PictureCritic(recipe, TRAIN, None, no_encoder)
    shown, pixels = torch.rand(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    shown.requires_grad_()
    found = losses(shown, pixels, shown, torch.Generator())
    assert found.keys() == {"loss", "pixels", "lpips_alex", "gram@alex"}
    expected = network(2 * shown - 1, 2 * pixels - 1).mean()
    torch.testing.assert_close(found["lpips_alex"], expected)
    maps = [network.net(network.scaling_layer(2 * x - 1)) for x in (shown, pixels)]
    torch.testing.assert_close(found["gram@alex"], gram_distance(*maps).mean())
    whole = found["pixels"] + found["lpips_alex"] + 100 * found["gram@alex"]
    torch.testing.assert_close(found["loss"], whole)
    found["loss"].backward()
    assert shown.grad.isfinite().all()
    assert all(p.grad is None for p in losses.parameters())


def test_another_file_is_refused(backbone, tmp_path):
    other = tmp_path / "other.pth"
    torch.save({}, other)
    recipe = PictureLosses(PerceptualRecipe(backbone="lpips_alex", weights=str(other)))
    with pytest.raises(ValueError, match=r"torchvision's alexnet\.pth: .*sha256 begins with"):
        PictureCritic(recipe, TRAIN, None, no_encoder)


def test_black_pictures_have_finite_gradients(backbone):
    """Features that are all 0 have a length of 0, whose root has no derivative."""
    path, _ = backbone
    recipe = PictureLosses(PerceptualRecipe(1.0, backbone="lpips_alex", weights=path))
    losses = PictureCritic(recipe, TRAIN, None, no_encoder)
    shown = torch.zeros(1, 3, 64, 64, requires_grad=True)
    for map_ in losses.distance.network.net.slice1.children():
        if hasattr(map_, "bias") and map_.bias is not None:
            map_.bias.fill_(-100.0)  # nothing is seen at all
    losses(shown, torch.rand(1, 3, 64, 64), shown, torch.Generator())["loss"].backward()
    assert shown.grad.isfinite().all()
