"""REPA's targets against a restatement in plain torch that reads the published names."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from unimm import config
from unimm.latents.decoder import IMAGENET_MEAN, IMAGENET_STD
from unimm.latents.target_files import read_mocov3
from unimm.latents.targets import (
    CLIP_MEAN,
    CLIP_STD,
    TARGET_SIZES,
    TARGETS,
    Target,
    TargetConfig,
    load_target,
    target_config,
)

WIDTH, DEPTH, HEADS, PATCH, GRID, NATIVE = 12, 2, 3, 4, 3, 5
KINDS = [*TARGETS, "dinov2 gated"]

PLAIN = {
    "patch": "patch_embed.proj",
    "cls": "cls_token",
    "pos": "pos_embed",
    "block": "blocks",
    "norm1": "norm1",
    "qkv": "attn.qkv",
    "out": "attn.proj",
    "norm2": "norm2",
    "fc1": "mlp.fc1",
    "fc2": "mlp.fc2",
    "norm": "norm",
}
PUBLISHED = dict.fromkeys(TARGETS, PLAIN) | {
    "dinov2 gated": PLAIN | {"fc1": "mlp.w12", "fc2": "mlp.w3"},
    "clip": {
        "patch": "conv1",
        "cls": "class_embedding",
        "pos": "positional_embedding",
        "block": "transformer.resblocks",
        "norm1": "ln_1",
        "qkv": "attn.in_proj",
        "out": "attn.out_proj",
        "norm2": "ln_2",
        "fc1": "mlp.c_fc",
        "fc2": "mlp.c_proj",
        "norm": "ln_post",
    },
}


def sizes(kind):
    family, gated = kind.split()[0], "gated" in kind
    return TargetConfig(family, WIDTH, DEPTH, HEADS, PATCH, PATCH * GRID, 20, gated)


def random_state(kind):
    """Return random tensors under the published names, without what a file has around them."""
    names, gated = PUBLISHED[kind], "gated" in kind
    shapes = {f"{names['patch']}.weight": (WIDTH, 3, PATCH, PATCH)}
    if kind != "clip":
        shapes[f"{names['patch']}.bias"] = (WIDTH,)
    first = () if kind == "clip" else (1,)
    if kind != "ijepa":
        shapes[names["cls"]] = (WIDTH,) if kind == "clip" else (1, 1, WIDTH)
    shapes[names["pos"]] = (*first, NATIVE**2 + (kind != "ijepa"), WIDTH)
    linear = {"qkv": (3 * WIDTH, WIDTH), "out": (WIDTH, WIDTH)}
    linear |= {"fc1": (40 if gated else 20, WIDTH), "fc2": (WIDTH, 20)}
    for i in range(DEPTH):
        block = f"{names['block']}.{i}"
        for part, shape in linear.items():
            end = "_" if names[part].endswith("in_proj") else "."
            shapes |= {
                f"{block}.{names[part]}{end}weight": shape,
                f"{block}.{names[part]}{end}bias": shape[:1],
            }
        for part in ("norm1", "norm2"):
            shapes |= {f"{block}.{names[part]}.{end}": (WIDTH,) for end in ("weight", "bias")}
        if kind.startswith("dinov2"):
            shapes |= {f"{block}.ls{n}.gamma": (WIDTH,) for n in (1, 2)}
    norms = [names["norm"], *(["ln_pre"] if kind == "clip" else [])]
    shapes |= {f"{norm}.{end}": (WIDTH,) for norm in norms for end in ("weight", "bias")}
    generator = torch.Generator().manual_seed(0)
    return {name: 0.4 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def published_file(kind, state):
    """Return the state with what the published file has around it."""
    one = torch.ones(1)
    return {
        "dinov2": state | {"mask_token": one},
        "dinov2 gated": state | {"mask_token": one},
        "dinov1": state,
        "mocov3": {
            "epoch": 300,
            "state_dict": {f"module.base_encoder.{k}": x for k, x in state.items()}
            | {"module.base_encoder.head.0.weight": one, "module.momentum_encoder.norm.weight": one},
        },
        "mae": {"model": state | {"decoder_blocks.0.norm1.weight": one, "mask_token": one}},
        "ijepa": {
            "encoder": {f"module.{k}": x for k, x in state.items()},
            "target_encoder": {f"module.{k}": 0 * x for k, x in state.items()},
            "epoch": 300,
        },
        "clip": {f"visual.{k}": x for k, x in state.items()}
        | {"visual.proj": one, "token_embedding.weight": one, "logit_scale": one},
    }[kind]


def restated(kind, state, pixels):
    """A vision transformer in plain torch, from published names."""
    names, gated = PUBLISHED[kind], "gated" in kind
    eps = 1e-5 if kind == "clip" else 1e-6

    def norm(x, name):
        return F.layer_norm(x, (WIDTH,), state[f"{name}.weight"], state[f"{name}.bias"], eps)

    def linear(x, name):
        end = "_" if name.endswith("in_proj") else "."
        return F.linear(x, state[f"{name}{end}weight"], state[f"{name}{end}bias"])

    def scale(x, name):
        return x * state[name] if name in state else x

    mean, std = (CLIP_MEAN, CLIP_STD) if kind == "clip" else (IMAGENET_MEAN, IMAGENET_STD)
    steps = [
        lambda x: torch.stack([(x[:, c] - mean[c]) / std[c] for c in range(3)], 1),
        lambda x: F.interpolate(x, (PATCH * GRID,) * 2, mode="bicubic"),
    ]
    if kind in ("dinov1", "mocov3", "mae"):
        steps = steps[:1]
    for step in steps[:: -1 if kind == "clip" else 1]:
        pixels = step(pixels)
    patches = F.unfold(pixels, PATCH, stride=PATCH).mT
    x = patches @ state[f"{names['patch']}.weight"].flatten(1).T
    x = x + state.get(f"{names['patch']}.bias", 0)
    table = state[names["pos"]].reshape(1, -1, WIDTH)
    special = kind != "ijepa"
    square = table[:, special:].mT.unflatten(-1, (NATIVE, NATIVE))
    square = F.interpolate(square, (GRID, GRID), mode="bicubic", antialias=True).flatten(2).mT
    x = x + square
    if special:
        first = state[names["cls"]].reshape(1, 1, WIDTH) + table[:, :1]
        x = torch.cat([first.expand(len(x), 1, WIDTH), x], 1)
    if kind == "clip":
        x = norm(x, "ln_pre")
    for i in range(DEPTH):
        block = f"{names['block']}.{i}"
        q, k, v = (
            part.unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for part in linear(norm(x, f"{block}.{names['norm1']}"), f"{block}.{names['qkv']}").chunk(3, -1)
        )
        seen = (q @ k.mT / (WIDTH // HEADS) ** 0.5).softmax(-1) @ v
        seen = linear(seen.transpose(1, 2).flatten(2), f"{block}.{names['out']}")
        x = x + scale(seen, f"{block}.ls1.gamma")
        h = linear(norm(x, f"{block}.{names['norm2']}"), f"{block}.{names['fc1']}")
        if gated:
            gate, value = h.chunk(2, -1)
            h = F.silu(gate) * value
        else:
            h = h * torch.sigmoid(1.702 * h) if kind == "clip" else F.gelu(h)
        x = x + scale(linear(h, f"{block}.{names['fc2']}"), f"{block}.ls2.gamma")
    if kind not in ("mae", "clip"):
        x = norm(x, names["norm"])
    return x[:, special:]


def pixels_for(kind):
    """Pictures of another size than the network's where the kind resizes."""
    size = PATCH * GRID if kind in ("dinov1", "mocov3", "mae") else 14
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_a_published_file_gives_the_tokens_restated_in_plain_torch(kind, ending, tmp_path):
    state, path = random_state(kind), tmp_path / f"target.{ending}"
    if ending == "pth":
        torch.save(published_file(kind, state), path)
    else:
        save_file(state, path)
    target = load_target(path, sizes(kind))
    found = target.tokens(pixels_for(kind))
    assert found.shape == (2, GRID**2, WIDTH)
    torch.testing.assert_close(found, restated(kind, state, pixels_for(kind)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_gaps_and_surpluses_are_listed(kind):
    state = random_state(kind)
    first = next(iter(state))
    del state[first]
    target = Target(sizes(kind))
    with pytest.raises(
        ValueError, match=r"^here: .*missing: patch_embed\.proj\.weight; unexpected: stranger$"
    ):
        target.load(state | {"stranger": torch.ones(1)}, "here")


def test_names_with_a_number_too_many_in_moco_are_mended():
    names = ("13.norm13.bias", "13.mlp.fc13.bias", "14.norm14.bias", "14.mlp.fc14.bias", "1.norm1.bias")
    state = {f"module.base_encoder.blocks.{name}": torch.ones(1) for name in names}
    mended = ("13.norm1.bias", "13.mlp.fc1.bias", "14.norm2.bias", "14.mlp.fc2.bias", "1.norm1.bias")
    assert list(read_mocov3({"state_dict": state})) == [f"blocks.{name}" for name in mended]


def test_tokens_are_frozen_and_half_precision_keeps_the_pixel_means():
    target = Target(sizes("dinov1")).to(torch.bfloat16)
    assert target.pixel_mean.dtype == torch.float32
    tokens = target.tokens(pixels_for("dinov1"))
    assert tokens.dtype == torch.float32
    assert not tokens.requires_grad
    assert not any(p.requires_grad for p in target.parameters())


class Stranger:
    """Something that is no tensor."""


def test_files_that_are_no_weights_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file at"):
        load_target(tmp_path / "none.pth", "dinov2-b")
    torch.save({"a": Stranger()}, tmp_path / "code.pth")
    with pytest.raises(ValueError, match="code in it is not run"):
        load_target(tmp_path / "code.pth", sizes("mae"))
    torch.save([1], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="expected names of tensors, got list"):
        load_target(tmp_path / "list.pth", sizes("mae"))
    (tmp_path / "cut.safetensors").write_bytes(b"123")
    with pytest.raises(ValueError, match="cut short"):
        load_target(tmp_path / "cut.safetensors", sizes("mae"))


def test_pictures_of_another_size_are_refused_where_nothing_resizes_them():
    with pytest.raises(ValueError, match="with Hp=12, got 14"):
        Target(sizes("mae")).tokens(pixels_for("clip"))


@pytest.mark.parametrize("name", TARGET_SIZES)
def test_published_targets_give_256_tokens_for_pictures_of_256(name):
    published = target_config(name)
    assert published.num_tokens == 256
    assert target_config(name, 512).num_tokens == 1024
    with torch.device("meta"):
        target = Target(published)
    picture = torch.empty(1, 3, 256, 256, device="meta")
    assert target.tokens(picture).shape == (1, 256, published.width)


def test_published_sizes_are_those_of_timm():
    """Counted on timm's own models of the same names, whose heads are left out."""
    import timm

    def count(module):
        return sum(p.numel() for p in module.parameters())

    with torch.device("meta"):
        for name, theirs in {
            "dinov2-g": "vit_giant_patch14_dinov2",
            "clip-l": "vit_large_patch14_clip_quickgelu_224",
            "dinov1-b": "vit_base_patch16_224.dino",
        }.items():
            network = Target(TARGET_SIZES[name]).network
            model = timm.create_model(theirs, num_classes=0, img_size=TARGET_SIZES[name].image_size)
            assert count(network) == count(model), name


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: target_config("dinov2-x"), "got 'dinov2-x'; did you mean 'dinov2-"),
        (lambda: target_config("dinov2-b", 300), "picture_size: expected 256 or 512, got 300"),
        (lambda: dataclasses.replace(sizes("mae"), kind="moco"), "got 'moco'; did you mean 'mocov3'"),
        (lambda: dataclasses.replace(sizes("mae"), heads=5), "target.width"),
        (lambda: dataclasses.replace(sizes("mae"), image_size=13), "target.image_size"),
        (lambda: dataclasses.replace(sizes("mae"), depth=0), "target.depth"),
    ],
)
def test_configs_refuse_what_cannot_be_built(build, said):
    with pytest.raises(ValueError, match=said):
        build()


def test_a_config_survives_yaml():
    assert config.build(TargetConfig, config.to_dict(sizes("clip"))) == sizes("clip")
