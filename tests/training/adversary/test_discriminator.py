"""unimm.training.adversary: what trains, what one picture's score depends on, spectral norms, names."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unimm.training.adversary import Discriminator, DiscriminatorConfig, hinge_loss
from unimm.training.adversary.heads import SpectralConv
from unimm.training.adversary.published import BACKBONE, HEADS, discriminator_sizes
from unimm.weights import load_strictly

SMALL = DiscriminatorConfig(
    image_size=16, patch_size=4, width=12, depth=3, heads=3, mlp_width=20, key_depths=(0, 2), kernel=3
)


def small(seed=0):
    torch.manual_seed(seed)
    return Discriminator(SMALL)


def pictures(count=3, size=10):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(5))


def test_the_default_is_the_published_size():
    config = DiscriminatorConfig()
    assert config.num_logits == 5 * 784
    with torch.device("meta"):
        backbone = Discriminator(config).backbone
    # ViT-S/8: 21.67 M with its final norm (Caron et al. 2021), which is not looked through.
    assert sum(p.numel() for p in backbone.parameters()) == 21_670_272 - 2 * 384


def test_one_picture_scores_alone_as_in_company():
    discriminator, pixels = small().eval(), pictures()
    with torch.no_grad():
        together = discriminator(pixels)
        alone = torch.cat([discriminator(picture[None]) for picture in pixels])
    assert together.shape == (3, SMALL.num_logits)
    torch.testing.assert_close(alone, together)


def test_only_the_heads_train_and_pixels_get_gradients():
    discriminator, pixels = small(), pictures().requires_grad_()
    hinge_loss(discriminator(pixels), discriminator(1 - pixels)).backward()
    assert pixels.grad.abs().sum() > 0
    assert all(p.grad is None for p in discriminator.backbone.parameters())
    assert all(p.grad is not None for p in discriminator.heads.parameters())


def test_the_convolution_is_torch_s_spectral_norm():
    """Torch's original hook, with its vectors, for two training steps and an evaluation."""
    torch.manual_seed(0)
    ours = SpectralConv(6, 4, kernel=3)
    theirs = nn.utils.spectral_norm(nn.Conv1d(6, 4, 3, padding=1, padding_mode="circular"))
    theirs.load_state_dict(
        {"weight_orig": ours.weight, "bias": ours.bias, "weight_u": ours.left, "weight_v": ours.right}
    )
    x = torch.randn(2, 6, 7)
    for _ in range(2):
        torch.testing.assert_close(ours(x), theirs(x))
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(x), theirs(x))
    ours(x).square().sum().backward()
    theirs(x).square().sum().backward()
    torch.testing.assert_close(ours.weight.grad, theirs.weight_orig.grad)


def test_refining_converges_to_the_largest_singular_value():
    torch.manual_seed(1)
    conv = SpectralConv(5, 5, kernel=1)
    with torch.no_grad():
        for _ in range(200):
            conv(torch.zeros(1, 5, 4))
        norm = conv.left @ conv.weight.flatten(1) @ conv.right
    torch.testing.assert_close(norm, torch.linalg.matrix_norm(conv.weight.detach().flatten(1), 2))


def test_published_names_go_out_and_come_back():
    discriminator = small()
    backbone = BACKBONE.write(discriminator.backbone.state_dict())
    heads = HEADS.write(discriminator.heads.state_dict())
    assert discriminator_sizes(backbone, heads, 3, (0, 2)) == SMALL
    other = small(seed=1).eval()
    load_strictly(other.backbone, BACKBONE.read(backbone)[0])
    load_strictly(other.heads, HEADS.read(heads)[0])
    with torch.no_grad():
        torch.testing.assert_close(other(pictures()), discriminator.eval()(pictures()))
    with pytest.raises(ValueError, match=r"key_depths: expected one fewer than the checkpoint's 3 heads"):
        discriminator_sizes(backbone, heads, 3, (0, 1, 2))
    del heads["heads.1.2.weight_u"]
    with pytest.raises(ValueError, match=r"heads\.1\.2\.weight_u"):
        HEADS.read(heads)


def test_biases_of_keys_are_zeroed_and_change_no_score():
    discriminator = small().eval()
    theirs = BACKBONE.write(discriminator.backbone.state_dict())
    parameters, _ = BACKBONE.read(theirs)
    bias = parameters["blocks.0.qkv.bias"]
    assert (bias[12:24] == 0).all()
    assert torch.equal(bias[:12], theirs["blocks.0.attn.qkv.bias"][:12])
    assert theirs["blocks.0.attn.qkv.bias"][12:24].abs().min() > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 13}, "width: expected a multiple of heads = 3, got 13"),
        ({"image_size": 17}, "image_size: expected a multiple of patch_size = 4, got 17"),
        ({"key_depths": (0, 3)}, r"key_depths: expected blocks 0 to 2, got \(0, 3\)"),
        ({"kernel": 4}, "kernel: expected an odd number, got 4"),
        ({"depth": 0}, "depth: expected a positive number, got 0"),
    ],
)
def test_sizes_that_cannot_be_are_refused(change, message):
    values = {**{name: getattr(SMALL, name) for name in SMALL.__dataclass_fields__}, **change}
    with pytest.raises(ValueError, match=message):
        DiscriminatorConfig(**values)
