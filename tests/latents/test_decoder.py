"""The decoder's published sizes, other grids, colours, and memory saved."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from unimm.config import build
from unimm.latents import DECODERS, IMAGENET_MEAN, IMAGENET_STD, DecoderConfig, RAEDecoder, decoder_config
from unimm.latents.decoder import resize_latents

SMALL = DecoderConfig(channels=6, width=24, depth=3, heads=2, mlp_width=32, patch_size=4, grid=4)


def latents(side, channels=6, batch=2):
    return torch.randn(batch, side**2, channels, generator=torch.Generator().manual_seed(0))


# Zheng et al. count the position table (257 rows) among the parameters; channels are DINOv2-B's.
@pytest.mark.parametrize(
    ("size", "patch_size", "millions"),
    [("B", 16, 86.4), ("L", 16, 304.2), ("XL", 16, 415.4), ("XL", 32, 418.0)],
)
def test_the_published_sizes_have_the_published_numbers_of_parameters(size, patch_size, millions):
    with torch.device("meta"):
        decoder = RAEDecoder(decoder_config(size, channels=768, patch_size=patch_size))
    count = sum(p.numel() for p in decoder.parameters()) + 257 * decoder.config.width
    assert round(count / 1e6, 1) == millions
    assert decoder.config.image_size == 16 * patch_size


def test_an_unknown_size_suggests_the_nearest():
    assert set(DECODERS) == {"B", "L", "XL"}
    with pytest.raises(ValueError, match="got 'xl'; did you mean 'XL'"):
        decoder_config("xl", channels=768, patch_size=16)


def test_each_colour_has_its_own_mean_and_std():
    config = dataclasses.replace(SMALL, pixel_mean=IMAGENET_MEAN, pixel_std=IMAGENET_STD)
    decoder = RAEDecoder(config)
    patches = torch.full((1, 16, 48), 2.0)
    wanted = torch.tensor(IMAGENET_MEAN) + 2 * torch.tensor(IMAGENET_STD)
    drawn = decoder.pixels(patches)
    assert drawn.shape == (1, 3, 16, 16)
    torch.testing.assert_close(drawn[0, :, 3, 5], wanted)
    alike = RAEDecoder(dataclasses.replace(SMALL, pixel_mean=0.4, pixel_std=(0.2, 0.2, 0.2)))
    torch.testing.assert_close(alike.pixels(patches), torch.full((1, 3, 16, 16), 0.8))


def test_a_triple_may_come_from_a_file_as_a_list():
    values = dataclasses.asdict(SMALL) | {"pixel_mean": list(IMAGENET_MEAN), "pixel_std": 1}
    assert build(DecoderConfig, values).pixel_mean == IMAGENET_MEAN


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"pixel_mean": (0.5, 0.5)},
            r"decoder.pixel_mean: expected one number or three .*, got \(0.5, 0.5\)",
        ),
        ({"pixel_std": (0.2, 0.0, 0.2)}, "decoder.pixel_std: expected positive numbers"),
    ],
)
def test_colours_that_make_no_picture_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(SMALL, **changes)


def test_latents_of_another_grid_are_resampled_after_the_embedding_only_on_request():
    decoder = RAEDecoder(SMALL).eval()
    torch.nn.init.normal_(decoder.embed.bias)
    with torch.no_grad():
        patches = decoder.patches_resized(latents(8))
        # Embedding and resampling are affine along different dimensions: the order does not matter.
        torch.testing.assert_close(patches, decoder.patches(resize_latents(latents(8), 4)), atol=1e-5, rtol=0)
        torch.testing.assert_close(decoder.patches_resized(latents(4)), decoder.patches(latents(4)))
    with pytest.raises(ValueError, match="with N=16, got 64"):
        decoder.patches(latents(8))
    with pytest.raises(ValueError, match="with C=6, got 5"):
        decoder.patches_resized(latents(8, channels=5))


def test_checkpointing_gives_the_same_gradients_and_keeps_less():
    plain, saving = RAEDecoder(SMALL), RAEDecoder(SMALL)
    saving.load_state_dict(plain.state_dict())
    saving.gradient_checkpointing = True
    kept = {}
    for name, decoder in (("plain", plain), ("saving", saving)):
        numbers = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, n=numbers: (n.append(x.numel()), x)[1], lambda x: x
        ):
            loss = decoder(latents(4)).square().mean()
        loss.backward()
        kept[name] = sum(numbers)
    for one, other in zip(plain.parameters(), saving.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
    assert kept["saving"] < kept["plain"] / 2


def test_constants_of_colour_survive_the_meta_device_and_bfloat16():
    config = dataclasses.replace(SMALL, pixel_mean=IMAGENET_MEAN, pixel_std=IMAGENET_STD)
    with torch.device("meta"):
        decoder = RAEDecoder(config)
    decoder = decoder.to_empty(device="cpu").to(torch.bfloat16)
    assert decoder.pixel_mean.flatten().tolist() == pytest.approx(IMAGENET_MEAN, abs=1e-7)
    assert not {"pixel_mean", "pixel_std", "positions"} & decoder.state_dict().keys()
