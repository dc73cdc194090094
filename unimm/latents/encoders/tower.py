"""What every encoder does: fit and standardise pixels, run the tower, norm each token."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unimm.latents.attention import use_in_tower
from unimm.latents.decoder import colours
from unimm.latents.encoders.config import EncoderConfig
from unimm.latents.encoders.positions import forget_positions
from unimm.shapes import expect


class Encoder(nn.Module, ABC):
    """A vision tower of transformers' modules that turns pixels into raw latents.

    Args:
        config: sizes.
        tower: a transformers model of these sizes whose modules are taken; None builds one at random.
    """

    model_types: ClassVar[tuple[str, ...]]
    """What `model_type` is in the config.json of a published tower."""
    unread: ClassVar[tuple[str, ...]] = ()
    """Patterns of published tensors that latents never meet."""
    norms_inside: ClassVar[bool] = False
    """Whether the published tower itself ends in `norm`; else that is put after it."""
    embeddings: nn.Module
    layers: nn.ModuleList

    def __init__(self, config: EncoderConfig, tower: nn.Module | None = None):
        super().__init__()
        self.config = config
        if not all(isinstance(x, int | float) for x in (config.pixel_mean, config.pixel_std)):
            device = torch.empty(0).device  # the current one, which may be "meta"
            for name in ("pixel_mean", "pixel_std"):
                self.register_buffer(name, colours(getattr(config, name)).to(device), persistent=False)
        else:
            self.pixel_mean, self.pixel_std = config.pixel_mean, config.pixel_std
        if tower is None:
            tower = self.tower_class()(self.tower_config(config))
        use_in_tower(tower.config)
        self._take(tower)

    @staticmethod
    @abstractmethod
    def tower_class() -> type[nn.Module]:
        """Return transformers' class, imported only now: its vision models cost a second."""

    @classmethod
    def tower_config(cls, config: EncoderConfig) -> Any:
        """Return transformers' config of these sizes."""
        return cls.tower_class().config_class(
            hidden_size=config.width,
            num_hidden_layers=config.depth,
            num_attention_heads=config.heads,
            image_size=config.table_size,
            patch_size=config.patch_size,
            layer_norm_eps=config.norm_eps,
            **cls.own_sizes(config),
        )

    @staticmethod
    @abstractmethod
    def own_sizes(config: EncoderConfig) -> dict[str, Any]:
        """Return what transformers' config of this kind has besides the sizes that all have."""

    @abstractmethod
    def _take(self, tower: nn.Module) -> None:
        """Make the modules of the tower this module's own."""

    @abstractmethod
    def hidden(self, inputs: Tensor) -> Tensor:
        """Return the last block's output at the patches, [B N C], for standardised pixels [B 3 Hp Wp]."""

    def encode(self, pixels: Tensor) -> Tensor:
        """Return raw latents [B N C], float32, of pixels [B 3 Hp Wp] in [0, 1].

        Raises:
            ValueError: pixels are not [B 3 image_size image_size], and config.resize forbids others.
        """
        return self.norm(self.hidden(self.standardise(self.fit(pixels))))

    forward = encode

    def fit(self, pixels: Tensor) -> Tensor:
        """Return pixels [B 3 image_size image_size]; see config.resize.

        Raises:
            ValueError: see `encode`.
        """
        size = self.config.image_size
        if self.config.resize == "refuse":
            expect("pixels", pixels, "B 3 Hp Wp", Hp=size, Wp=size)
            return pixels
        expect("pixels", pixels, "B 3 Hp Wp")
        if pixels.shape[-2:] == (size, size):
            return pixels
        # Without antialiasing, as published; the result may leave [0, 1].
        return F.interpolate(pixels, size=(size, size), mode="bicubic", align_corners=False)

    def standardise(self, pixels: Tensor) -> Tensor:
        """Return (pixels - mean) / std."""
        return (pixels - self.pixel_mean) / self.pixel_std

    def norm(self, hidden: Tensor) -> Tensor:
        """Return [B N C] under a LayerNorm without affine: the tower's own final norm less its weights.

        Each token has mean 0 and variance 1 (Zheng et al. 2025).
        """
        return F.layer_norm(hidden.float(), (self.config.width,), eps=self.config.norm_eps)

    def reset_tables(self) -> None:
        """Recompute the constants that are in no checkpoint, on the device where they are."""
        self._reset_colours()
        forget_positions(self.embeddings)

    def _reset_colours(self) -> None:
        for name in ("pixel_mean", "pixel_std"):
            if name in self._buffers:
                setattr(self, name, colours(getattr(self.config, name)).to(getattr(self, name).device))

    def _apply(self, fn, recurse: bool = True):
        """Move or cast as usual, but keep the pixel means float32."""
        super()._apply(fn, recurse)
        self._reset_colours()
        return self
