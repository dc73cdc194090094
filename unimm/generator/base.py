"""What all generators share: a body, a latent space and a flow; drawing, showing, loading and saving."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from unimm.dit.bodies import BODIES
from unimm.flow.sampling import Callback, draw_latents, guide
from unimm.flow.solver import Velocity
from unimm.generator.losses import FlowLosses, flow_losses
from unimm.generator.outputs import VELOCITIES
from unimm.generator.saving import load_generator, save_generator
from unimm.generator.settings import GeneratorSettings, SamplingSettings
from unimm.latents.autoencoder import LATENT_SPACES
from unimm.latents.pixels import to_images
from unimm.request import check_size, passes
from unimm.shapes import expect

G = TypeVar("G", bound="Generator")
Size = tuple[int, int] | None
"""Rows and columns of the latents; None is the square grid of the settings."""


@dataclass(frozen=True)
class GeneratedPictures:
    """What was drawn: M pictures, request by request."""

    images: Any  # M PIL pictures, a tensor [M 3 Hp Wp] or an array [M Hp Wp 3] in [0, 1], or the latents
    latents: Tensor  # [M N C] normalised
    seeds: list[int]  # each draws its picture again, alone
    cut: tuple[str, ...] = ()  # one line for every prompt that a text encoder could not read to its end


class Generator(nn.Module):
    """A body that draws latents and a space that shows them; a subclass says what its conditions are."""

    model_type: ClassVar[str]

    def __init__(self, settings: GeneratorSettings):
        super().__init__()
        self.settings = settings
        self.dit = BODIES[settings.body["kind"]][1](settings.dit)
        self.space = LATENT_SPACES[settings.latents["kind"]][1](settings.space)

    @property
    def device(self) -> torch.device:
        """Where the body is."""
        return next(self.dit.parameters()).device

    # The network and its loss.

    def features(
        self,
        x_t: Tensor,
        t: Tensor,
        conditions: Any,
        at: Sequence[int] = (),
        dropped: Tensor | None = None,
        size: Size = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the velocity [B N C], float32, and the tokens after the blocks in `at`; see the bodies."""
        hidden: list[Tensor] = []

        def ask(x: Tensor, t: Tensor) -> Tensor:
            output, states = self.dit.features(x, t, conditions, at, dropped, size)
            hidden.extend(states)
            return output

        return VELOCITIES[self.settings.flow.prediction](ask)(x_t, t).float(), hidden

    def velocity(
        self,
        x_t: Tensor,
        t: Tensor,
        conditions: Any,
        dropped: Tensor | None = None,
        size: Size = None,
    ) -> Tensor:
        """Return the velocity [B N C], float32, of latents x_t [B N C] at times t [B]."""

        def ask(x: Tensor, t: Tensor) -> Tensor:
            return self.dit(x, t, conditions, dropped, size)  # its forward: what compiles and shards it

        return VELOCITIES[self.settings.flow.prediction](ask)(x_t, t).float()

    def flow_losses(
        self,
        latents: Tensor,
        conditions: Any,
        *,
        generator: torch.Generator,
        dropped: Tensor | None = None,
        size: Size = None,
        at: Sequence[int] = (),
    ) -> FlowLosses:
        """Return the flow loss of each sample of normalised latents [B N C]; draws come from `generator`."""
        return flow_losses(self, latents, conditions, generator=generator, dropped=dropped, size=size, at=at)

    # Latents and pixels.

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Return normalised latents [B N C] of pixels [B 3 Hp Wp] in [0, 1]."""
        return self.space.encode(pixels)

    def decode_latents(self, latents: Tensor, size: Size = None) -> Tensor:
        """Return pixels [B 3 Hp Wp] in [0, 1] of normalised latents [B N C].

        Raises:
            ValueError: latents of another grid or channel count, or not finite.
        """
        expect("latents", latents, "B N C", N=self._num_tokens(size), C=self.settings.dit.channels)
        return self.space.decode(latents, size).float()

    # Drawing.

    def _draw(
        self,
        pair: Callable[[slice], tuple[Velocity, Velocity]],
        seeds: Sequence[int],
        sampling: SamplingSettings,
        other: Generator | None,
        callback: Callback | None,
        size: Size = None,
    ) -> Tensor:
        """Return latents [M N C]; `pair(piece)` is the velocity to follow and the one to be led away from."""

        def velocity(piece: slice) -> Velocity:
            return guide(*pair(piece), sampling, other is not None)

        shape = self._num_tokens(size), self.settings.dit.channels
        return draw_latents(velocity, seeds, shape, sampling, self.settings.alpha, self.device, callback)

    def _check_guide(self, other: Generator, sampling: SamplingSettings) -> None:
        if type(other) is not type(self):
            raise ValueError(f"guide: expected a {type(self).__name__}, got a {type(other).__name__}")
        for name in ("channels", "grid"):
            ours, theirs = getattr(self.settings.dit, name), getattr(other.settings.dit, name)
            if ours != theirs:
                raise ValueError(
                    f"guide: expected latents of {name} {ours} as this generator draws, got {theirs}"
                )
        if sampling.guidance_scale == 1:
            raise ValueError(
                "guide: expected guidance_scale other than 1 with it, got 1, at which no guide is asked; "
                "published are scales of 1.1 to 1.5"
            )

    def _num_tokens(self, size: Size) -> int:
        if size is None:
            return self.settings.dit.grid**2
        check_size(size)
        return size[0] * size[1]

    def _show(self, latents: Tensor, output_type: str, size: Size = None) -> Any:
        """Return latents [M N C] as pictures in the asked form."""
        if output_type == "latent":
            return latents
        pixels = torch.cat([self.decode_latents(latents[piece], size) for piece in passes(len(latents))])
        if output_type == "pt":
            return pixels
        return to_images(pixels) if output_type == "pil" else pixels.permute(0, 2, 3, 1).cpu().numpy()

    # Loading and saving.

    @classmethod
    def from_pretrained(
        cls: type[G], folder: str | os.PathLike[str], *, dtype: torch.dtype = torch.float32
    ) -> G:
        """Return the generator saved in a folder, in eval mode; all its weights must be there, no others.

        Raises:
            FileNotFoundError: no such folder, or a file of it is missing.
            ValueError: a folder of another kind of model, or weights that do not fit, all listed.
        """
        return load_generator(cls, folder, dtype)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write settings, weights and tokenizers to a folder, which appears only when it is complete.

        Raises:
            OSError: the disk is full or the folder cannot be written; nothing has changed then.
        """
        save_generator(self, folder)
