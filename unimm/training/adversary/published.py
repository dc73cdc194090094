"""The published names of the discriminator: DINO's backbone, and RAE's heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from unimm.shapes import side_of
from unimm.training.adversary.discriminator import DiscriminatorConfig
from unimm.weights.folder import refuse
from unimm.weights.keymap import Entry, KeyMap, num_layers


def _without_key_bias(bias: Tensor) -> Tensor:
    """Zero the middle third. It adds one number to all scores of a query, which softmax does not see."""
    query, key, value = bias.chunk(3)
    return torch.cat([query, torch.zeros_like(key), value])


BACKBONE = KeyMap(
    "DINO backbone",
    (
        Entry("class_token", ("cls_token",), (torch.flatten, lambda x: x[None, None])),
        Entry("positions", ("pos_embed",), "row"),
        Entry("patches.weight", ("patch_embed.proj.weight",)),
        Entry("patches.bias", ("patch_embed.proj.bias",)),
        Entry("blocks.{i}.qkv.weight", ("blocks.{i}.attn.qkv.weight",)),
        Entry("blocks.{i}.qkv.bias", ("blocks.{i}.attn.qkv.bias",), (_without_key_bias, lambda x: x)),
        *(
            Entry(f"blocks.{{i}}.{ours}.{kind}", (f"blocks.{{i}}.{theirs}.{kind}",))
            for ours, theirs in (
                ("attention_norm", "norm1"),
                ("attention_out", "attn.proj"),
                ("mlp_norm", "norm2"),
                ("mlp_in", "mlp.fc1"),
                ("mlp_out", "mlp.fc2"),
            )
            for kind in ("weight", "bias")
        ),
    ),
    unused=(r"norm\..*", r"head\..*"),  # hidden states are looked at before both
)
"""`dino_vit_small_patch8_224.pth` and its kin to `Discriminator.backbone`; biases of keys are zeroed."""


def _spectral(ours: str, theirs: str) -> tuple[Entry, ...]:
    pairs = (("weight", "weight_orig"), ("bias", "bias"), ("left", "weight_u"), ("right", "weight_v"))
    return tuple(Entry(f"{{i}}.{our}", (f"heads.{{i}}.{their}",)) for our, their in (
        (f"{ours}.{a}", f"{theirs}.{b}") for a, b in pairs
    ))  # fmt: skip


HEADS = KeyMap(
    "RAE discriminator heads",
    (
        *_spectral("embed.conv", "0.0"),
        *_spectral("mix.conv", "1.fn.0"),
        *_spectral("out", "2"),
        *(
            Entry(f"{{i}}.{ours}.norm.{kind}", (f"heads.{{i}}.{theirs}.1.{kind}",))
            for ours, theirs in (("embed", "0"), ("mix", "1.fn"))
            for kind in ("weight", "bias")
        ),
    ),
)
"""The trainable part of a published discriminator to `Discriminator.heads`."""


def discriminator_sizes(
    backbone: Mapping[str, Tensor],
    heads: Mapping[str, Tensor],
    num_attention_heads: int,
    key_depths: Sequence[int],
) -> DiscriminatorConfig:
    """Return the sizes of a published discriminator from its tensors; attention heads show in none.

    Raises:
        ValueError: a tensor that tells a size is absent, or the heads are not one more than the depths.
    """
    telling = {
        "patch_embed.proj.weight": backbone,
        "pos_embed": backbone,
        "blocks.0.mlp.fc1.weight": backbone,
        "heads.0.1.fn.0.weight_orig": heads,
    }
    refuse("discriminator", missing=[name for name, state in telling.items() if name not in state])
    width, _, patch_size, _ = backbone["patch_embed.proj.weight"].shape
    found = num_layers(heads, "heads.")
    if found != len(key_depths) + 1:
        raise ValueError(
            f"key_depths: expected one fewer than the checkpoint's {found} heads, got {tuple(key_depths)}"
        )
    return DiscriminatorConfig(
        image_size=patch_size * side_of(backbone["pos_embed"].shape[1] - 1, "pos_embed"),
        patch_size=patch_size,
        width=width,
        depth=num_layers(backbone, "blocks."),
        heads=num_attention_heads,
        mlp_width=backbone["blocks.0.mlp.fc1.weight"].shape[0],
        key_depths=tuple(key_depths),
        kernel=heads["heads.0.1.fn.0.weight_orig"].shape[-1],
    )
