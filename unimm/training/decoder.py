"""The decoder stage: teach the RAE decoder to show latents of a frozen encoder (Zheng et al. 2025, arXiv
2510.11690, stage 1; Scale-RAE, arXiv 2601.16208).

L1, a perceptual distance, Gram matrices and an adversary, each from its start on (`picture_losses`). Latents
are noised, as RAE does, so that the decoder also shows latents that a DiT drew a little off; the
discriminator is shown what the decoder makes of clean ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from rich.progress import track
from torch import Tensor, nn

from unimm.data.photographs import PhotographSettings
from unimm.data.world import Pictures
from unimm.latents.autoencoder import RAEConfig
from unimm.latents.decoder import DecoderConfig, RAEDecoder
from unimm.latents.encoder import EncoderConfig, build_encoder
from unimm.latents.encoders.published import encoder_sizes, load_encoder
from unimm.latents.encoders.tower import Encoder
from unimm.latents.noise import SIGMAS, with_noise
from unimm.latents.statistics import LatentStatistics, Welford
from unimm.model.config import ModelSettings
from unimm.model.loading import find_folder, read_config
from unimm.model.unimm import UniMM
from unimm.tables import expect_known
from unimm.training import checkpoint
from unimm.training.codec import raw_latents, trained
from unimm.training.picture_losses import PictureCritic, PictureLosses, losses_groups
from unimm.training.picture_stream import PictureStream, check_one, open_stream
from unimm.training.pictures import save_grid
from unimm.training.plain import autocast
from unimm.training.plan.pictures import showing
from unimm.training.plan.workload import Workload
from unimm.training.recipe import FROZEN, Group, TrainRecipe
from unimm.training.reconstruction import ReconstructionStage
from unimm.weights.folder import load_strictly

_BATCH = 250  # pictures encoded at once when statistics are measured


@dataclass(frozen=True)
class PublishedEncoder:
    """A vision tower in transformers' layout."""

    source: str  # folder or hub id, such as facebook/dinov2-with-registers-base
    kind: str  # a row of ENCODERS
    image_size: int | None = None  # pixels per side that enter it; null: as published


@dataclass(frozen=True)
class DecoderRecipe:
    """What the decoder stage is run with: on a run of the encoder stage, a published encoder or a model."""

    train: TrainRecipe
    pictures: Pictures | None = None  # of the world
    data: PhotographSettings | None = None  # in place of pictures: files
    start: str | None = None  # a model, whose encoder and statistics are kept: "tiny", a folder, a hub id
    encoder_run: str | None = None  # run folder of the encoder stage, in place of start
    encoder: EncoderConfig | None = None  # with encoder_run
    published: PublishedEncoder | None = None  # in place of start
    decoder: DecoderConfig | None = None  # with start where it is not the model's own; else always
    start_from_painter: bool = True  # with encoder_run: its light decoder has these sizes already
    fresh: bool = False  # with start: the decoder begins at random
    losses: PictureLosses = field(default_factory=PictureLosses)
    latent_noise: float = 0.5  # tau, the strength of the noise; 0 is none
    noise_law: str = "half_normal"  # the paper, section 4.3; uniform: its published code
    noise_on: Literal["normalised", "raw"] = "normalised"  # raw: before the statistics, as the published code
    statistics_pictures: int = 20_000  # with encoder_run
    matrices: Literal["adamw", "muon"] = "muon"  # optimiser of the weights inside; DeepSpeed takes adamw
    gradient_checkpointing: bool = False  # compute blocks again for gradients: less memory, more time

    def __post_init__(self) -> None:
        given = {"start": self.start, "encoder_run": self.encoder_run, "published": self.published}
        named = [name for name, value in given.items() if value is not None]
        if len(named) != 1:
            raise ValueError(f"start: expected one of {', '.join(given)}, got {', '.join(named) or 'none'}")
        if (self.encoder is None) == (self.encoder_run is not None):
            wanted = "null" if self.encoder_run is None else "its sizes"
            raise ValueError(f"encoder: expected {wanted} beside {named[0]}, got {self.encoder}")
        if self.start is None and self.decoder is None:
            raise ValueError(f"decoder: expected its sizes beside {named[0]}, got none")
        if self.start is not None and self.decoder is not None and not self.fresh:
            raise ValueError("fresh: expected true for a decoder of other sizes than the model's, got false")
        if self.encoder_run is not None:
            RAEConfig(self.encoder, self.decoder)  # refuses grids and channels that differ
        check_one(self.pictures, self.data)
        expect_known("noise_law", self.noise_law, SIGMAS)
        if not self.latent_noise >= 0:
            raise ValueError(f"latent_noise: expected 0 or more, got {self.latent_noise}")
        self.losses.check(self.train)


@torch.no_grad()
def measure_statistics(encoder: Encoder, stream: PictureStream, count: int) -> LatentStatistics:
    """Return the latent statistics of the first `count` pictures, exact (Welford), per token and channel.

    Raises:
        ValueError: there are fewer pictures.
    """
    config = encoder.config
    seen = Welford(config.num_tokens, config.width)
    for start in track(range(0, count, _BATCH), "latent statistics"):
        seen.update(raw_latents(encoder, stream.first(min(_BATCH, count - start), start)))
    statistics = LatentStatistics(config.num_tokens, config.width)
    statistics.set(*seen.result())
    return statistics


def tiny_encoder() -> Encoder:
    """Return the built-in model's encoder."""
    return UniMM.from_pretrained("tiny").encoder


class DecoderStage(ReconstructionStage):
    """Reconstruction from noised latents."""

    def __init__(self, recipe: DecoderRecipe):
        self.recipe = recipe
        self.model = None if recipe.start is None else _started(recipe)
        encoder, decoder = self._fresh_parts() if self.model is None else self._model_parts()
        encoder.eval().requires_grad_(False)
        decoder.gradient_checkpointing = recipe.gradient_checkpointing
        losses = PictureCritic(recipe.losses, recipe.train, encoder, tiny_encoder)
        pixels = (recipe.pictures or recipe.data).pixels
        if decoder.config.image_size != pixels:
            raise ValueError(
                f"pictures: expected {decoder.config.image_size} pixels per side, as the decoder draws, "
                f"got {pixels}"
            )
        # What takes minutes comes last: a file that is missing is told at once.
        self.stream = open_stream(recipe.pictures, recipe.data, recipe.train)
        if self.model is None:
            statistics = measure_statistics(encoder, self.stream, recipe.statistics_pictures)
        else:
            statistics = self.model.statistics
        self.modules = {"encoder": encoder, "statistics": statistics, "decoder": decoder, "losses": losses}
        self.groups = decoder_groups(recipe, self.modules)

    def _fresh_parts(self) -> tuple[Encoder, RAEDecoder]:
        """Return an encoder with its weights, and a decoder to be trained."""
        recipe, decoder = self.recipe, RAEDecoder(self.recipe.decoder)
        if recipe.published is not None:
            given = recipe.published
            encoder = load_encoder(given.source, given.kind, image_size=given.image_size)
            RAEConfig(encoder.config, recipe.decoder)
        else:
            encoder = build_encoder(recipe.encoder)
            load_strictly(encoder, trained(recipe.encoder_run, "encoder"), "encoder")
            if recipe.start_from_painter:
                load_strictly(decoder, trained(recipe.encoder_run, "heads.painter"), "painter")
        return encoder, decoder

    def _model_parts(self) -> tuple[Encoder, RAEDecoder]:
        return self.model.encoder, self.model.decoder

    def workload(self) -> Workload:
        return decoder_workload(self.recipe)

    def step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        decoder, losses = self.modules["decoder"], self.modules["losses"]
        raw = _NOISED[self.recipe.noise_on](self, self._raw(batch), generator)
        return losses(decoder(raw), batch, decoder.out.weight, generator)

    def fresh(
        self, seen: list[tuple[Tensor, torch.Generator]]
    ) -> Iterator[tuple[Tensor, Tensor, torch.Generator]]:
        """Yield what the decoder makes of clean latents."""
        decoder = self.modules["decoder"]
        for batch, generator in seen:
            with autocast(self.recipe.train.precision, batch.device):
                decoder.eval()
                with torch.no_grad():
                    shown = decoder(self._raw(batch))
                decoder.train()
                yield batch, shown, generator

    @torch.no_grad()
    def _raw(self, pixels: Tensor) -> Tensor:
        return raw_latents(self.modules["encoder"], pixels)

    def noised_normalised(self, raw: Tensor, generator: torch.Generator) -> Tensor:
        """Return raw latents [B N C] whose noise is in units of normalised ones."""
        recipe, statistics = self.recipe, self.modules["statistics"]
        noised = with_noise(statistics.normalise(raw), recipe.latent_noise, generator, recipe.noise_law)
        return statistics.restore(noised)

    def noised_raw(self, raw: Tensor, generator: torch.Generator) -> Tensor:
        """Return raw latents [B N C] with noise on them as they are."""
        return with_noise(raw, self.recipe.latent_noise, generator, self.recipe.noise_law)

    def compile(self) -> None:
        self.modules["encoder"].compile()
        # The adaptive weight asks for the last layer's gradient alone, so that layer stays outside.
        for block in self.modules["decoder"].blocks:
            block.compile()

    def sample(self, folder: Path, step: int) -> None:
        """Draw the first pictures beside their reconstructions."""
        pixels = self.stream.first(32).to(self.modules["decoder"].out.weight.device)
        shown = self.modules["decoder"].decode(self._raw(pixels))
        save_grid(torch.stack([pixels, shown], 1).flatten(0, 1), folder, step, columns=16)

    def export(self, newest: Path, folder: Path) -> None:
        """Write the model with its (averaged) new decoder.

        A run that began with an encoder's has no whole model: the next stages read its checkpoint.
        """
        if self.model is None:
            return
        saved = checkpoint.averaged_state(newest)
        state = {key: value for key, value in saved.items() if key.startswith("decoder.")}
        whole = self.model.stored_state() | state
        self.model.save_pretrained(folder, state_dict={key: x.cpu() for key, x in whole.items()})


_NOISED = {"normalised": DecoderStage.noised_normalised, "raw": DecoderStage.noised_raw}
"""Where noise is put on latents, by name."""


def decoder_groups(recipe: DecoderRecipe, modules: Mapping[str, nn.Module]) -> dict[str, Group]:
    """Return who learns: the decoder."""
    groups = {"encoder": FROZEN, "decoder": Group(optimizer=recipe.matrices)}
    return groups | losses_groups(modules["losses"])


def decoder_workload(recipe: DecoderRecipe) -> Workload:
    """Return what a recipe's micro-batch computes; of a start, only the config is read."""
    return showing(recipe, _sizes(recipe), lambda modules: decoder_groups(recipe, modules))


def _sizes(recipe: DecoderRecipe) -> RAEConfig:
    if recipe.published is not None:
        given = recipe.published
        return RAEConfig(encoder_sizes(given.source, given.kind, image_size=given.image_size), recipe.decoder)
    if recipe.start is None:
        return RAEConfig(recipe.encoder, recipe.decoder)
    settings = read_config(find_folder(recipe.start)).settings
    _expect_decoder(recipe, settings)
    return RAEConfig(settings.encoder, recipe.decoder or settings.decoder)


def _expect_decoder(recipe: DecoderRecipe, settings: ModelSettings) -> None:
    """Refuse a model that draws in another space than it sees."""
    if settings.decoder is None:
        raise ValueError(
            f"start: expected a model with a decoder of what its encoder sees, {recipe.start} draws "
            f"latents of kind {settings.drawn['kind']!r}; train that VAE instead"
        )


def _started(recipe: DecoderRecipe) -> UniMM:
    """Return the model that a recipe starts from, with the decoder that is to be trained.

    Raises:
        ValueError: a model that draws in another space, or a decoder for other latents.
    """
    model = UniMM.from_pretrained(recipe.start)
    settings = model.config.settings
    _expect_decoder(recipe, settings)
    if recipe.fresh:
        config = settings.decoder if recipe.decoder is None else recipe.decoder
        RAEConfig(settings.encoder, config)
        model.decoder = RAEDecoder(config)
        model.config.settings = replace(settings, decoder=config)
    return model
