"""What the stages of the generators share: latents of the world's pictures, who learns, the product."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from unimm.data.cache import LatentCache
from unimm.data.world import PictureStore
from unimm.dit.bound import refuse_narrow
from unimm.generator import Generator
from unimm.latents.autoencoder import RAE
from unimm.latents.pixels import resize_pixels
from unimm.latents.vae import VAE
from unimm.latents.vae_folder import fill_vae
from unimm.training import checkpoint
from unimm.training.codec import trained
from unimm.training.latents import cached_latents
from unimm.training.recipe import FROZEN, Group
from unimm.weights.folder import load_strictly


def prepare(model: Generator, codec_run: str | None, vae: str | None, allow_narrow: bool) -> None:
    """Refuse a body too narrow for its latents, and fill the latent space with its trained weights.

    Args:
        model: fresh.
        codec_run: run folder of the decoder stage or a model's ("tiny"), for latents of kind rae.
        vae: folder of a published VAE, for latents of a VAE's kind.
        allow_narrow: the recipe's word that a narrow body is wanted.

    Raises:
        ValueError: a narrow body, or a source that is missing or of no use to this kind of latents.
    """
    refuse_narrow(model.settings.dit, allow_narrow)
    space, kind = model.space, model.settings.latents["kind"]
    needs = {"codec_run": isinstance(space, RAE), "vae": isinstance(space, VAE)}
    for name, value in (("codec_run", codec_run), ("vae", vae)):
        if needs[name] != (value is not None):
            wanted = "a folder" if needs[name] else "null"
            raise ValueError(f"{name}: expected {wanted} for latents of kind {kind!r}, got {value}")
    if codec_run is not None:
        for name in ("encoder", "statistics", "decoder"):
            load_strictly(getattr(space, name), trained(codec_run, name), name)
    if vae is not None:
        fill_vae(space, vae)
    space.eval().requires_grad_(False)


def fitted(model: Generator, pixels: Tensor) -> Tensor:
    """Return square pixels [B 3 S S] at the size that the latent space takes."""
    encoder = getattr(model.space, "encoder", None)
    return resize_pixels(pixels, (model.space if encoder is None else encoder).config.image_size)


def kept_latents(model: Generator, store: PictureStore, folder: str, kind: str = "bf16") -> LatentCache:
    """Return what a cache keeps of a store's pictures: latents, or of a VAE mean and std of their posterior.

    `kind`, of `cache_kinds.KINDS`, is how they are written down.

    Either way `drawn` makes of it what `encoded` makes of the pictures.
    """
    space, config = model.space, model.settings.space
    channels = 2 * config.channels if isinstance(space, VAE) else config.channels

    def encode(pixels: Tensor) -> Tensor:
        pixels = fitted(model, pixels)
        return torch.cat(space.moments(pixels), -1) if isinstance(space, VAE) else model.encode_image(pixels)

    return cached_latents(folder, store, space, (config.grid**2, channels), encode, kind)


def drawn(model: Generator, kept: Tensor, generator: torch.Generator) -> Tensor:
    """Return latents [B N C] of what a cache kept; a VAE's are drawn from the posterior, [B N 2C] kept."""
    if isinstance(model.space, VAE):
        return model.space.draw(*kept.chunk(2, dim=-1), generator)
    return kept


@torch.no_grad()
def encoded(model: Generator, pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Return latents [B N C] of pixels that fit the space; a VAE's are drawn from its posterior."""
    if isinstance(model.space, VAE):
        return model.space.sample(pixels, generator)
    return model.encode_image(pixels)


def body_groups(model: Generator, matrices: Literal["adamw", "muon"]) -> dict[str, Group]:
    """Return who learns: the body, its lookups and outputs by AdamW, its matrices by what is asked for."""
    wanted = {
        "generator.dit": Group(optimizer=matrices),
        "generator.dit.embed": Group(),
        "generator.dit.labels": Group(),
        "generator.dit.final.out": Group(),
        "generator.space": FROZEN,
    }
    names = [f"generator.{name}." for name, _ in model.named_parameters()]
    return {key: group for key, group in wanted.items() if any(n.startswith(key + ".") for n in names)}


def compile_body(model: Generator) -> None:
    """Compile both ways into the body, in place."""
    model.dit.compile()
    model.dit.features = torch.compile(model.dit.features)


def export(model: Generator, newest: Path, folder: Path) -> None:
    """Write the (averaged) weights of a checkpoint as a generator's folder."""
    whole = type(model)(model.settings)
    prefix = "generator."
    saved = checkpoint.averaged_state(newest)
    state = {key.removeprefix(prefix): value for key, value in saved.items() if key.startswith(prefix)}
    load_strictly(whole, state, str(newest))
    if hasattr(model, "text"):
        whole.text.words = model.text.words
    whole.save_pretrained(folder)


def repeated(x: Tensor, n: int) -> Tensor:
    """Return each row n times, one after the other."""
    return x.repeat_interleave(n, dim=0) if n > 1 else x


def means(terms: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
    """Return the means of the terms that there are."""
    return {name: term.mean() for name, term in terms.items() if term is not None}


def spread(options: Sequence[Any], count: int) -> list[Any]:
    """Return `count` of the options, evenly from first to last."""
    return [options[index * len(options) // count] for index in range(min(count, len(options)))]
