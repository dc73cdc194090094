"""The vae stage: a KL autoencoder of 4, 8 or 16 channels, the baseline that RAEs are compared with.

Rombach et al. 2022 (arXiv 2112.10752): a convolutional encoder and decoder and a posterior held near N(0, 1);
here on the same picture losses as the decoder stage, so that the two differ in their latents alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from unimm.data.photographs import PhotographSettings
from unimm.data.world import Pictures
from unimm.latents.vae import VAE, VAEConfig
from unimm.latents.vae_folder import load_vae, vae_facts
from unimm.training import checkpoint
from unimm.training.decoder import tiny_encoder
from unimm.training.picture_losses import (
    PerceptualRecipe,
    PictureCritic,
    PictureLosses,
    losses_groups,
)
from unimm.training.picture_stream import PictureStream, check_one, open_stream
from unimm.training.pictures import save_grid
from unimm.training.plain import autocast
from unimm.training.plan.pictures import compressing
from unimm.training.plan.workload import Workload
from unimm.training.recipe import Group, TrainRecipe
from unimm.training.reconstruction import ReconstructionStage
from unimm.weights.folder import DIFFUSERS_STEM, load_strictly, save_folder

CHANNELS = (4, 8, 16)
"""Of the posterior: Stable Diffusion 1, in between, Stable Diffusion 3 and FLUX."""
_BATCH = 100  # pictures encoded at once when latents are measured


@dataclass(frozen=True)
class VAESizes:
    """A VAEConfig without its scale, which is measured at the end. See there for the fields."""

    latent_channels: int
    widths: tuple[int, ...]
    image_size: int
    packing: int = 1
    layers_per_block: int = 2
    norm_groups: int = 32
    quant_conv: bool = False

    def __post_init__(self) -> None:
        if self.latent_channels not in CHANNELS:
            raise ValueError(
                f"vae.latent_channels: expected one of {', '.join(map(str, CHANNELS))}, "
                f"got {self.latent_channels}"
            )
        self.config()

    def config(self) -> VAEConfig:
        """Return the config of a VAE in training: latents as they are."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return VAEConfig(scaling_factor=1.0, shift_factor=0.0, **values)


@dataclass(frozen=True)
class VAERecipe:
    """What the vae stage is run with."""

    train: TrainRecipe
    vae: VAESizes
    pictures: Pictures | None = None  # of the world
    data: PhotographSettings | None = None  # in place of pictures: files
    start: str | None = None  # a VAE's folder to go on from; null begins at random
    losses: PictureLosses = field(default_factory=lambda: PictureLosses(PerceptualRecipe(backbone="tiny")))
    kl_weight: float = 1e-6  # of a picture's divergence beside its error, both summed: Rombach et al.
    measured_pictures: int = 2_000  # whose latents give the shift and scale that the product is told

    def __post_init__(self) -> None:
        if not self.kl_weight >= 0:
            raise ValueError(f"kl_weight: expected 0 or more, got {self.kl_weight}")
        check_one(self.pictures, self.data)
        if self.losses.perceptual.backbone == "encoder":
            raise ValueError(
                "losses.perceptual.backbone: expected 'tiny' or lpips, as this stage has no encoder, got "
                "'encoder'"
            )
        size = (self.pictures or self.data).pixels
        if self.vae.image_size != size:
            raise ValueError(f"vae.image_size: expected the pictures' {size}, got {self.vae.image_size}")
        most = self.measured_pictures if self.pictures is None else self.pictures.count
        if not 0 < self.measured_pictures <= most:
            raise ValueError(
                f"measured_pictures: expected 1 to the pictures' {most}, got {self.measured_pictures}"
            )
        self.losses.check(self.train)


def divergence(mean: Tensor, std: Tensor) -> Tensor:
    """Return KL(N(mean, std^2), N(0, 1)) in nats, summed over the latents [B N C] of each picture: [B]."""
    each = mean.square() + std.square() - 1 - 2 * std.log()
    return each.flatten(1).sum(1) / 2


class VAEStage(ReconstructionStage):
    """Reconstruction from samples of the posterior."""

    def __init__(self, recipe: VAERecipe):
        self.recipe = recipe
        vae = VAE(recipe.vae.config())
        if recipe.start is not None:
            _begin(vae, recipe.start)
        vae.tower.to(memory_format=torch.channels_last)  # as convolutions are fastest
        losses = PictureCritic(recipe.losses, recipe.train, None, tiny_encoder)
        self.stream = open_stream(recipe.pictures, recipe.data, recipe.train)  # takes minutes, so last
        self.modules = {"vae": vae, "losses": losses}
        self.groups = vae_groups(self.modules)

    def workload(self) -> Workload:
        return vae_workload(self.recipe)

    def step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        vae = self.modules["vae"]
        mean, std = vae.moments(batch)
        nats = divergence(mean, std).mean()
        shown = vae(vae.draw(mean, std, generator))
        losses = self.modules["losses"](shown, batch, vae.tower.decoder.conv_out.weight, generator)
        # The other terms are means over a picture's numbers; theirs are sums.
        regular = self.recipe.kl_weight * nats / batch[0].numel()
        return losses | {"loss": losses["loss"] + regular, "kl": nats}

    def fresh(
        self, seen: list[tuple[Tensor, torch.Generator]]
    ) -> Iterator[tuple[Tensor, Tensor, torch.Generator]]:
        """Yield what the VAE makes of its posterior's means."""
        vae = self.modules["vae"]
        for batch, generator in seen:
            with autocast(self.recipe.train.precision, batch.device):
                with torch.no_grad():
                    shown = vae(vae.encode(batch))
                yield batch, shown, generator

    def compile(self) -> None:
        """Compile the encoder alone: the adaptive weight asks for gradients inside the decoder."""
        self.modules["vae"].tower.encoder.compile()

    def sample(self, folder: Path, step: int) -> None:
        """Draw the first pictures beside their reconstructions."""
        vae = self.modules["vae"]
        pixels = self.stream.first(32).to(vae.tower.device)
        save_grid(
            torch.stack([pixels, vae.decode(vae.encode(pixels))], 1).flatten(0, 1), folder, step, columns=16
        )

    def export(self, newest: Path, folder: Path) -> None:
        """Write the (averaged) weights of a checkpoint as diffusers' folder, latents scaled to variance 1."""
        vae = VAE(self.recipe.vae.config())
        saved = checkpoint.averaged_state(newest)
        load_strictly(vae, _under("vae.", saved), str(newest))
        shift, scale = measured_scale(vae.eval(), self.stream, self.recipe.measured_pictures)
        config = replace(vae.config, shift_factor=shift, scaling_factor=scale)
        save_folder(vae.tower.state_dict(), vae_facts(config), folder, stem=DIFFUSERS_STEM)


def vae_groups(modules: Mapping[str, nn.Module]) -> dict[str, Group]:
    """Return who learns: the VAE."""
    return {"vae": Group()} | losses_groups(modules["losses"])


def vae_workload(recipe: VAERecipe) -> Workload:
    """Return what a recipe's micro-batch computes."""
    return compressing(recipe, vae_groups)


@torch.no_grad()
def measured_scale(vae: VAE, stream: PictureStream, count: int) -> tuple[float, float]:
    """Return the shift and the factor that bring latents of the first pictures to mean 0 and variance 1.

    One number each for all channels, as the published VAEs have. The variance is that of samples: of the
    means, and the posterior's own besides.
    """
    total, square, numbers = 0.0, 0.0, 0
    for start in range(0, count, _BATCH):
        pixels = stream.first(min(_BATCH, count - start), start)
        mean, std = (x.double() for x in vae.moments(pixels))
        total, square = total + mean.sum(), square + (mean.square() + std.square()).sum()
        numbers += mean.numel()
    shift = total / numbers
    return float(shift), float((square / numbers - shift.square()).rsqrt())


def _begin(vae: VAE, folder: str) -> None:
    """Fill a VAE from a folder; its scale is measured anew."""
    ours = vae.config
    found = load_vae(folder, ours.packing, ours.image_size)
    same = replace(found.config, scaling_factor=1.0, shift_factor=0.0)
    if same != ours:
        raise ValueError(f"start: expected a VAE of {ours}, got {same}")
    load_strictly(vae, found.state_dict(), folder)


def _under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): x for key, x in state.items() if key.startswith(prefix)}
