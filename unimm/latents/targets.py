"""REPA's targets: frozen encoders whose tokens a generator's hidden states are aligned with.

Yu et al. 2025 (arXiv 2410.06940). Each takes pictures as REPA's own code gives them to it and reads its
published checkpoint under the names that it came with. All are plain vision transformers, built by timm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unimm.files import read_tensors
from unimm.latents.decoder import IMAGENET_MEAN, IMAGENET_STD, colours
from unimm.latents.target_files import (
    State,
    check_names,
    read_clip,
    read_dinov1,
    read_dinov2,
    read_ijepa,
    read_mae,
    read_mocov3,
)
from unimm.shapes import expect
from unimm.tables import pick

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class TargetConfig:
    """Sizes of a target; N = (image_size / patch_size)^2 tokens of `width` channels."""

    kind: str
    """From the table TARGETS."""
    width: int
    """C, 768 in every B."""
    depth: int
    """Number of blocks."""
    heads: int
    """Attention heads."""
    patch_size: int
    """Pixels per patch side, 14 or 16."""
    image_size: int
    """Pixels per side that enter the network; published for pictures of 256: 224 or 256, doubled for 512."""
    mlp_width: int
    """Hidden width of the MLP, 4 width; of a gated one, the value's: 4096 in DINOv2-g."""
    gated: bool = False
    """SwiGLU in place of GELU: DINOv2-g."""

    def __post_init__(self):
        target_kind(self.kind)
        for name in ("width", "depth", "heads", "patch_size", "image_size", "mlp_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"target.{name}: expected a positive number, got {getattr(self, name)}")
        if self.width % self.heads:
            raise ValueError(f"target.width: expected a multiple of heads = {self.heads}, got {self.width}")
        if self.image_size % self.patch_size:
            raise ValueError(
                f"target.image_size: expected a multiple of patch_size = {self.patch_size}, "
                f"got {self.image_size}"
            )

    @property
    def grid(self) -> int:
        """Tokens per side."""
        return self.image_size // self.patch_size

    @property
    def num_tokens(self) -> int:
        """N."""
        return self.grid**2


class Target(nn.Module):
    """A frozen vision transformer with random weights until `load` is called."""

    def __init__(self, config: TargetConfig):
        super().__init__()
        self.config = config
        self.kind = TARGETS[config.kind]
        self.network = _network(config, self.kind)
        device = torch.empty(0).device  # the current one, which may be "meta"
        self.register_buffer("pixel_mean", colours(self.kind.pixel_mean).to(device), persistent=False)
        self.register_buffer("pixel_std", colours(self.kind.pixel_std).to(device), persistent=False)
        self.eval().requires_grad_(False)

    @property
    def resizes(self) -> bool:
        """Whether pixels of any size may be given, as REPA's code resizes them for this kind."""
        return self.kind.prepare is not _as_they_are

    @torch.no_grad()
    def tokens(self, pixels: Tensor) -> Tensor:
        """Return the patches' tokens [B N C], float32, of pixels [B 3 Hp Wp] in [0, 1].

        Raises:
            ValueError: pixels are not [B 3 Hp Wp]; for a kind that does not resize, of another size.
        """
        expect("pixels", pixels, "B 3 Hp Wp")
        inputs = self.kind.prepare(pixels, self.config.image_size, self.pixel_mean, self.pixel_std)
        weight = self.network.patch_embed.proj.weight
        [tokens] = self.network.forward_intermediates(
            inputs.to(weight.dtype),
            indices=1,  # the last block
            norm=self.kind.normed,
            output_fmt="NLC",
            intermediates_only=True,
        )
        return tokens.float()

    forward = tokens

    def load(self, checkpoint: State, name: str = "checkpoint") -> None:
        """Take the weights of a published file's content; positions are resampled to this grid, antialiased.

        Raises:
            ValueError: missing, unexpected or misshapen tensors, all of them listed.
        """
        from timm.layers import resample_abs_pos_embed

        state = self.kind.read(checkpoint)
        if isinstance(state.get("pos_embed"), Tensor):
            prefix = 1 if self.kind.options.get("class_token", True) else 0
            state["pos_embed"] = resample_abs_pos_embed(
                state["pos_embed"], [self.config.grid] * 2, num_prefix_tokens=prefix
            )
        check_names(self.network.state_dict(), state, f"{name}: {self.config.kind}")
        self.network.load_state_dict(state)

    def _apply(self, fn, recurse: bool = True):
        """Move or cast as usual, but keep the pixel means float32."""
        super()._apply(fn, recurse)
        for name in ("pixel_mean", "pixel_std"):
            setattr(self, name, colours(getattr(self.kind, name)).to(getattr(self, name).device))
        return self


def load_target(path: str | Path, config: TargetConfig | str) -> Target:
    """Return a target with the weights of its published file.

    Args:
        path: safetensors, or a pickle of nothing but tensors and plain values. CLIP's file is an archive of
            code: save `torch.jit.load(path).state_dict()` once and name that file.
        config: sizes, or a name in TARGET_SIZES.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an unknown name, a file that cannot be read so, or tensors that do not fit, all listed.
    """
    target = Target(target_config(config) if isinstance(config, str) else config)
    target.load(read_tensors(path), str(path))
    return target


def target_config(name: str, picture_size: int = 256) -> TargetConfig:
    """Return the sizes of a published target for pictures of 256 or 512 pixels per side.

    Raises:
        ValueError: an unknown name (with a suggestion), or another size of pictures.
    """
    config = pick("target", name, TARGET_SIZES)
    if picture_size not in (256, 512):
        raise ValueError(f"picture_size: expected 256 or 512, got {picture_size}")
    return replace(config, image_size=config.image_size * picture_size // 256)


def target_kind(kind: str) -> Kind:
    """Return a row of TARGETS.

    Raises:
        ValueError: an unknown kind; the message suggests the nearest one.
    """
    return pick("target.kind", kind, TARGETS)


def _network(config: TargetConfig, kind: Kind) -> nn.Module:
    from timm.layers import SwiGLUPacked
    from timm.models.vision_transformer import VisionTransformer

    options = dict(kind.options)
    if config.gated:
        options |= {"mlp_layer": SwiGLUPacked, "act_layer": nn.SiLU}  # a block gives its own to every MLP
    # timm's gated MLP is told the width of gate and value together. The half outlives rounding down.
    mlp_width = config.mlp_width * (2 if config.gated else 1)
    return VisionTransformer(
        img_size=config.image_size,
        patch_size=config.patch_size,
        embed_dim=config.width,
        depth=config.depth,
        num_heads=config.heads,
        mlp_ratio=(mlp_width + 0.5) / config.width,
        num_classes=0,
        global_pool="",
        norm_layer=partial(nn.LayerNorm, eps=kind.norm_eps),
        **options,
    )


def _as_they_are(pixels: Tensor, size: int, mean: Tensor, std: Tensor) -> Tensor:
    expect("pixels", pixels, "B 3 Hp Wp", Hp=size, Wp=size)
    return (pixels - mean) / std


def _standardised_then_resized(pixels: Tensor, size: int, mean: Tensor, std: Tensor) -> Tensor:
    return _resized((pixels - mean) / std, size)


def _resized_then_standardised(pixels: Tensor, size: int, mean: Tensor, std: Tensor) -> Tensor:
    return (_resized(pixels, size) - mean) / std


def _resized(pixels: Tensor, size: int) -> Tensor:
    """Bicubic without antialiasing, as published."""
    if pixels.shape[-2:] == (size, size):
        return pixels
    return F.interpolate(pixels, size=(size, size), mode="bicubic", align_corners=False)


@dataclass(frozen=True)
class Kind:
    """What REPA's code does with one family of encoders."""

    prepare: Callable[[Tensor, int, Tensor, Tensor], Tensor]
    """(pixels, image_size, mean, std) -> what enters the network."""
    read: Callable[[State], dict[str, Any]]
    """A published file's content -> tensors under timm's names."""
    normed: bool = True
    """Whether tokens are taken after the final norm."""
    pixel_mean: tuple[float, float, float] = IMAGENET_MEAN
    pixel_std: tuple[float, float, float] = IMAGENET_STD
    norm_eps: float = 1e-6
    options: dict[str, Any] = field(default_factory=dict)
    """Of timm's VisionTransformer. A class token, where there is one, is never among the tokens."""


TARGETS = {
    "dinov2": Kind(_standardised_then_resized, read_dinov2, options={"init_values": 1.0}),
    "dinov1": Kind(_as_they_are, read_dinov1),
    "mocov3": Kind(_as_they_are, read_mocov3),
    "mae": Kind(_as_they_are, read_mae, normed=False),
    "ijepa": Kind(_standardised_then_resized, read_ijepa, options={"class_token": False}),
    "clip": Kind(
        _resized_then_standardised,
        read_clip,
        normed=False,
        pixel_mean=CLIP_MEAN,
        pixel_std=CLIP_STD,
        norm_eps=1e-5,
        options={"pre_norm": True, "act_layer": "quick_gelu"},
    ),
}
"""Families of targets by kind."""

TARGET_SIZES = {
    "dinov2-b": TargetConfig("dinov2", 768, 12, 12, 14, 224, 3072),
    "dinov2-l": TargetConfig("dinov2", 1024, 24, 16, 14, 224, 4096),
    "dinov2-g": TargetConfig("dinov2", 1536, 40, 24, 14, 224, 4096, gated=True),
    "dinov1-b": TargetConfig("dinov1", 768, 12, 12, 16, 256, 3072),
    "mocov3-s": TargetConfig("mocov3", 384, 12, 12, 16, 256, 1536),
    "mocov3-b": TargetConfig("mocov3", 768, 12, 12, 16, 256, 3072),
    "mocov3-l": TargetConfig("mocov3", 1024, 24, 16, 16, 256, 4096),
    "clip-l": TargetConfig("clip", 1024, 24, 16, 14, 224, 4096),
    "ijepa-h": TargetConfig("ijepa", 1280, 32, 16, 14, 224, 5120),
    "mae-l": TargetConfig("mae", 1024, 24, 16, 16, 256, 4096),
}
"""Published targets; 256 tokens each."""
