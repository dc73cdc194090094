"""Encoders of every kind: loaded from a folder and computed by hand, their refusals."""

from __future__ import annotations

import copy
import dataclasses
import json

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from tests.latents import towers
from tests.latents.towers import pixels, tiny
from unimm import config
from unimm.latents.decoder import IMAGENET_MEAN, IMAGENET_STD
from unimm.latents.encoder import ENCODERS, EncoderConfig, build_encoder
from unimm.latents.encoders.names import use_present_names
from unimm.latents.encoders.presets import PRESETS, encoder_preset
from unimm.latents.encoders.published import load_encoder

KINDS = sorted(ENCODERS)


def standardised(x, kind):
    means, stds = ([0.5] * 3, [0.5] * 3) if kind == "siglip2" else (IMAGENET_MEAN, IMAGENET_STD)
    return torch.stack([(x[:, i] - means[i]) / stds[i] for i in range(3)], 1)


@pytest.fixture(params=KINDS)
def published(request, tmp_path):
    """A kind, the folder of a small model of that kind, the model, and the function of its tokens."""
    build, tokens = towers.TOWERS[request.param]
    model = build()
    model.save_pretrained(tmp_path / "tower")
    return request.param, tmp_path / "tower", model, tokens


@pytest.mark.parametrize("size", [towers.NATIVE, 28])
def test_a_folder_gives_the_latents_computed_by_hand(published, size):
    kind, folder, model, tokens = published
    encoder = load_encoder(folder, kind, image_size=size)
    assert not encoder.training
    assert not any(p.requires_grad for p in encoder.parameters())
    with torch.no_grad():
        wanted = tokens(model, standardised(pixels(size), kind))
    found = encoder.encode(pixels(size))
    assert found.shape == (2, (size // towers.PATCH) ** 2, towers.WIDTH)
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=2e-5)


def test_a_loaded_encoder_is_the_one_that_its_config_builds(published):
    kind, folder, _, _ = published
    encoder = load_encoder(folder, kind)
    again = build_encoder(config.build(EncoderConfig, config.to_dict(encoder.config)))
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again.requires_grad_(False).encode(pixels()), encoder.encode(pixels()))


def test_a_pickle_of_tensors_is_read_where_there_is_nothing_better(published):
    kind, folder, _, _ = published
    wanted = load_encoder(folder, kind).encode(pixels())
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert torch.equal(load_encoder(folder, kind).encode(pixels()), wanted)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(FileNotFoundError, match="no weights that can be read"):
        load_encoder(folder, kind)


def test_gaps_and_surpluses_are_listed(published):
    kind, folder, _, _ = published
    state = load_file(folder / "model.safetensors")
    seen = [name for name in state if not name.startswith(("text_model.", "decoder."))]
    del state[next(name for name in seen if name.endswith(("fc1.bias", "intermediate.dense.bias")))]
    state["embeddings.stranger"] = torch.ones(1)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"missing: .*bias.*; unexpected: .*embeddings\.stranger"):
        load_encoder(folder, kind)


def test_a_misshapen_tensor_is_listed(published):
    kind, folder, _, _ = published
    edit_config(folder, patch_size=2, image_size=10)
    with pytest.raises(ValueError, match="misshapen: .*patch_embedding"):
        load_encoder(folder, kind)


def edit_config(folder, **changes):
    values = json.loads((folder / "config.json").read_text())
    values.get("vision_config", values).update(changes)
    (folder / "config.json").write_text(json.dumps(values))


def test_a_tower_that_we_do_not_build_is_refused(published):
    kind, folder, _, _ = published
    edit_config(folder, hidden_act="relu")
    with pytest.raises(ValueError, match="expected hidden_act 'gelu.*got 'relu'"):
        load_encoder(folder, kind)


def test_a_folder_of_another_kind_is_refused(published):
    kind, folder, _, _ = published
    other = KINDS[KINDS.index(kind) - 1]
    with pytest.raises(ValueError, match=f"expected model_type .* for kind '{other}', got"):
        load_encoder(folder, other)
    with pytest.raises(ValueError, match="got 'dinov2'; did you mean 'dinov2reg'"):
        load_encoder(folder, "dinov2")
    with pytest.raises(FileNotFoundError, match="expected a folder or a hub id"):
        load_encoder(folder / "nowhere", kind)


def test_pixel_means_stand_in_the_folder(tmp_path):
    build, _ = towers.TOWERS["webssl"]
    build().save_pretrained(tmp_path)
    values = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.5, 0.5]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(values))
    found = load_encoder(tmp_path, "webssl").config
    assert (found.pixel_mean, found.pixel_std) == ((0.1, 0.2, 0.3), 0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_of_another_size_are_refused_or_resized(kind):
    encoder = towers.shake(build_encoder(tiny(kind)))
    with pytest.raises(ValueError, match="with Hp=20, got 24"):
        encoder.encode(pixels(24))
    encoder.config = dataclasses.replace(encoder.config, resize="bicubic")
    small = F.interpolate(pixels(24), size=(20, 20), mode="bicubic", antialias=False, align_corners=False)
    assert torch.equal(encoder.encode(pixels(24)), encoder.encode(small))
    assert torch.equal(encoder.encode(pixels()), towers_twin(encoder).encode(pixels()))


def towers_twin(encoder):
    """The same encoder that refuses other sizes."""
    twin = copy.deepcopy(encoder)
    twin.config = dataclasses.replace(twin.config, resize="refuse")
    return twin


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "webssl"])
def test_latents_have_mean_zero_and_variance_one(kind):
    z = towers.shake(build_encoder(tiny(kind))).encode(pixels())
    torch.testing.assert_close(z.mean(-1), torch.zeros(2, 25), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.var(-1, unbiased=False), torch.ones(2, 25), atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_keeps_the_pixel_means(kind):
    encoder = build_encoder(tiny(kind, pixel_mean=IMAGENET_MEAN, pixel_std=IMAGENET_STD)).to(torch.bfloat16)
    inputs = encoder.standardise(pixels())
    assert torch.equal(inputs, (pixels() - encoder.pixel_mean) / encoder.pixel_std)
    torch.testing.assert_close(inputs, standardised(pixels(), "mae"), atol=1e-6, rtol=1e-6)
    assert encoder.encode(pixels()).dtype == torch.float32


@pytest.mark.parametrize("kind", KINDS)
def test_constants_survive_the_meta_device(kind):
    options = {"pixel_mean": IMAGENET_MEAN, "pixel_std": IMAGENET_STD, "image_size": 12, "native_size": 20}
    source = towers.shake(build_encoder(tiny(kind, **options)))
    with torch.device("meta"):
        empty = build_encoder(tiny(kind, **options)).eval()
    empty.to_empty(device="cpu").load_state_dict(source.state_dict())
    empty.reset_tables()
    assert torch.equal(empty.encode(pixels(12)), source.encode(pixels(12)))


class OldAttention(torch.nn.Module):
    """The attention of earlier versions of transformers around the layers of a present one."""

    def __init__(self, present, heads):
        super().__init__()
        self.attention, self.output = torch.nn.Module(), torch.nn.Module()
        self.attention.query, self.attention.key = present.q_proj, present.k_proj
        self.attention.value, self.output.dense = present.v_proj, present.o_proj
        self.attention.num_attention_heads = heads


@pytest.mark.parametrize("kind", ["dinov2reg", "webssl"])
def test_old_modules_have_the_present_names_and_the_same_numbers(kind):
    new, old = (towers.shake(build_encoder(tiny(kind))) for _ in range(2))
    for layer in old.layers:
        layer.attention = OldAttention(layer.attention, old.config.heads)
    assert any("attention.query" in name for name, _ in old.named_parameters())
    use_present_names(old)
    assert [name for name, _ in old.named_parameters()] == [name for name, _ in new.named_parameters()]
    states = torch.randn(2, 5, towers.WIDTH, generator=torch.Generator().manual_seed(1))
    found, (wanted, *_) = (encoder.layers[0].attention(states) for encoder in (old, new))
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-6)  # old layers take no pair


@pytest.mark.parametrize("name", PRESETS)
def test_published_encoders_have_256_tokens_and_can_be_built(name):
    preset = encoder_preset(name)
    with torch.device("meta"):
        encoder = build_encoder(preset.config)
        latents = encoder.encode(torch.empty(1, 3, preset.config.image_size, preset.config.image_size))
    assert latents.shape == (1, 256, preset.config.width)


def test_sizes_of_published_towers_are_counted():
    """Parameters as transformers' default configs of the same models give them, less the final norm."""
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel, ViTMAEConfig, ViTMAEModel

    def count(module):
        return sum(p.numel() for p in module.parameters())

    with torch.device("meta"):
        dinov2 = Dinov2WithRegistersModel(Dinov2WithRegistersConfig(image_size=518, patch_size=14))
        mae = ViTMAEModel(ViTMAEConfig())
        assert count(build_encoder(PRESETS["dinov2reg-base"].config)) == count(dinov2) - 2 * 768
        assert count(build_encoder(PRESETS["mae-base"].config)) == count(mae) - 2 * 768


def test_an_unknown_preset_suggests_the_nearest():
    with pytest.raises(ValueError, match="got 'dinov2-base'; did you mean 'dinov2reg-base'"):
        encoder_preset("dinov2-base")


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: tiny("mae", registers=1), "encoder.registers: expected 0 for kind 'mae'"),
        (lambda: tiny("mae", use_head=True), "encoder.use_head"),
        (lambda: tiny("mae", native_size=3), "encoder.patch_size: expected at most native_size 3"),
        (lambda: tiny("mae", pixel_mean=(0.1, 0.2)), "encoder.pixel_mean"),
        (lambda: tiny("mae", pixel_std=(0.1, 0.2, 0.0)), "encoder.pixel_std"),
        (
            lambda: build_encoder(tiny("webssl", mlp_width=24)),
            "encoder.mlp_width: expected a multiple of width = 16",
        ),
        (
            lambda: config.build(EncoderConfig, config.to_dict(tiny("mae")) | {"resize": "bicubik"}),
            "did you mean 'bicubic'",
        ),
    ],
)
def test_configs_refuse_what_cannot_be_built(build, said):
    with pytest.raises(ValueError, match=said):
        build()
