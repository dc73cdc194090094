"""The decoder stage: teach the RAE decoder to show latents of a frozen encoder (Zheng et al. 2025, arXiv
2510.11690).

L1 and a perceptual term whose backbone is the frozen encoder itself (`perceptual@encoder`: a network named
LPIPS needs LPIPS's weights). Latents are noised, as RAE does, so that the decoder also shows latents that a
DiT drew a little off.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor, nn

from unimm.data.order import shuffled
from unimm.data.world import Pictures, PictureStore
from unimm.latents.decoder import DecoderConfig, RAEDecoder
from unimm.latents.encoder import EncoderConfig, build_encoder
from unimm.latents.noise import with_noise
from unimm.latents.pixels import resize_pixels
from unimm.latents.statistics import LatentStatistics, Welford
from unimm.perceptual import FeatureDistance
from unimm.training import checkpoint
from unimm.training.pictures import save_grid
from unimm.training.recipe import FROZEN, Group, TrainRecipe
from unimm.weights.folder import load_strictly

_BATCH = 250  # pictures encoded at once when statistics are measured


@dataclass(frozen=True)
class DecoderRecipe:
    """What the decoder stage is run with."""

    train: TrainRecipe
    pictures: Pictures
    encoder_run: str  # run folder of the encoder stage
    encoder: EncoderConfig
    decoder: DecoderConfig
    start_from_painter: bool = True  # the encoder run's light decoder has these sizes already
    perceptual: float = 0.05  # weight beside L1's 1
    latent_noise: float = (
        0.5  # tau: noise of std |N(0, tau^2)| on normalised latents (2510.11690, section 4.3)
    )
    statistics_pictures: int = 20_000


def trained(run: str | Path, name: str) -> dict[str, Tensor]:
    """Return one module's (averaged) weights from the newest checkpoint of a run.

    Raises:
        FileNotFoundError: the run has no checkpoint.
        ValueError: the checkpoint has no such module.
    """
    newest = checkpoint.latest(run)
    if newest is None:
        raise FileNotFoundError(
            f"run: expected a checkpoint in {Path(run) / 'checkpoints'}, found none; train it first"
        )
    prefix = name + "."
    state = checkpoint.averaged_state(newest)
    chosen = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    if not chosen:
        known = sorted({key.split(".")[0] for key in state})
        raise ValueError(f"run {run}: expected a module {name!r}, found {', '.join(known)}")
    return chosen


@torch.no_grad()
def measure_statistics(encoder: nn.Module, store: PictureStore, count: int) -> LatentStatistics:
    """Return the latent statistics of the first `count` pictures, exact (Welford), per token and channel.

    Raises:
        ValueError: the store holds fewer pictures.
    """
    if count > store.count:
        raise ValueError(f"statistics_pictures: expected at most the store's {store.count}, got {count}")
    config = encoder.config
    seen = Welford(config.num_tokens, config.width)
    for start in track(range(0, count, _BATCH), "latent statistics"):
        indices = range(start, min(start + _BATCH, count))
        seen.update(encoder(resize_pixels(store.pixels_of(indices), config.image_size)))
    statistics = LatentStatistics(config.num_tokens, config.width)
    statistics.set(*seen.result())
    return statistics


class DecoderStage:
    """Reconstruction from noised latents."""

    def __init__(self, recipe: DecoderRecipe):
        self.recipe = recipe
        self.store = recipe.pictures.open()
        encoder, decoder = build_encoder(recipe.encoder), RAEDecoder(recipe.decoder)
        load_strictly(encoder, trained(recipe.encoder_run, "encoder"), "encoder")
        if recipe.start_from_painter:
            load_strictly(decoder, trained(recipe.encoder_run, "heads.painter"), "painter")
        encoder.eval().requires_grad_(False)
        statistics = measure_statistics(encoder, self.store, recipe.statistics_pictures)
        self.modules = {"encoder": encoder, "statistics": statistics, "decoder": decoder}
        self.groups = {"encoder": FROZEN, "decoder": Group(optimizer="muon")}
        self.distance = FeatureDistance(self._features)

    def _features(self, pixels: Tensor) -> list[Tensor]:
        """Return what each block of the encoder sees, [B C h w] each."""
        encoder = self.modules["encoder"]
        small = resize_pixels(pixels, self.recipe.encoder.image_size)
        hidden = encoder.embeddings(encoder.standardise(small))
        maps = []
        for layer in encoder.layers:
            hidden = layer(hidden, attention_mask=None)
            maps.append(hidden.mT.unflatten(-1, (encoder.config.grid, -1)))
        return maps

    def batch(self, start: int, count: int) -> Tensor:
        return self.store.pixels_of(shuffled(self.store.count, self.recipe.train.seed, start, count))

    def step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        encoder, statistics, decoder = self.modules.values()
        with torch.no_grad():
            latents = statistics.normalise(encoder(resize_pixels(batch, self.recipe.encoder.image_size)))
        noised = with_noise(latents, self.recipe.latent_noise, generator)
        shown = decoder(statistics.restore(noised))
        pixels = (shown - batch).abs().mean()
        perceptual = self.distance(shown, batch).mean()
        return {
            "loss": pixels + self.recipe.perceptual * perceptual,
            "pixels": pixels,
            "perceptual": perceptual,
        }

    def compile(self) -> None:
        self.modules["encoder"].compile()
        self.modules["decoder"].compile()

    def sample(self, folder: Path, step: int) -> None:
        """Draw the first pictures of the store beside their reconstructions."""
        encoder, _, decoder = self.modules.values()
        pixels = self.store.pixels_of(range(32))
        shown = decoder.decode(encoder(resize_pixels(pixels, self.recipe.encoder.image_size)))
        save_grid(torch.stack([pixels, shown], 1).flatten(0, 1), folder, step, columns=16)
