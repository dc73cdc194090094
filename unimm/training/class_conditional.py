"""The class-conditional stage: a body learns to draw the world's classes in a latent space.

RAE with DiT^DH (Zheng et al. 2025), LightningDiT (Yao & Wang 2025), SiT with REPA (Yu et al. 2025): which of
them is a matter of the generator's settings and of `alignment`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from unimm.alignment import PUBLISHED_WEIGHT, Projectors, alignment_loss
from unimm.data.order import shuffled
from unimm.data.world import Pictures
from unimm.generator import ClassGenerator, GeneratorSettings
from unimm.generator.losses import FlowLosses
from unimm.latents.encoder import EncoderConfig, build_encoder
from unimm.latents.pixels import resize_pixels
from unimm.training.decoder import trained
from unimm.training.finite import refuse_nonfinite
from unimm.training.generating import (
    body_groups,
    compile_body,
    drawn,
    encoded,
    export,
    fitted,
    kept_latents,
    means,
    prepare,
    repeated,
    spread,
)
from unimm.training.pictures import save_grid
from unimm.training.recipe import FROZEN, Group, TrainRecipe
from unimm.weights.folder import load_strictly
from unimm.world.classes import CLASSES, class_of


@dataclass(frozen=True)
class Alignment:
    """REPA: hidden states are drawn towards what a frozen encoder sees in the clean picture."""

    encoder_run: str  # run folder of the encoder stage
    encoder: EncoderConfig  # its grid is the body's: tokens are compared place by place
    block: int  # after which the hidden states are taken, the first is 1; 8 of 28 in REPA
    weight: float = PUBLISHED_WEIGHT
    hidden: int = 2048  # width of the projector


@dataclass(frozen=True)
class ClassRecipe:
    """What the class-conditional stage is run with."""

    train: TrainRecipe
    generator: GeneratorSettings
    pictures: Pictures  # scenes: single
    codec_run: str | None = None  # for latents of kind rae: run folder of the decoder stage
    vae: str | None = None  # for latents of a VAE: its folder
    latents: str | None = None  # folder of a latent cache, filled on first use; null encodes every batch
    alignment: Alignment | None = None
    null_probability: float = 0.1  # how often the label is dropped (classifier-free guidance)
    noise_draws: int = 1  # noise and time draws per picture
    matrices: Literal["adamw", "muon"] = "adamw"  # optimiser of the weights inside; DeepSpeed takes adamw
    allow_narrow: bool = False  # train a body narrower than its latents all the same
    gradient_checkpointing: bool = False  # compute blocks again for gradients: less memory, more time

    def __post_init__(self) -> None:
        if self.pictures.scenes != "single":
            raise ValueError(
                f"pictures.scenes: expected 'single', as only such have a class, got {self.pictures.scenes!r}"
            )
        if getattr(self.generator.dit, "num_classes", None) != len(CLASSES):
            raise ValueError(
                f"generator.body.num_classes: expected {len(CLASSES)}, as the world has, "
                f"got {getattr(self.generator.dit, 'num_classes', None)}"
            )
        if not 0 <= self.null_probability < 1:
            raise ValueError(f"null_probability: expected a number in [0, 1), got {self.null_probability}")
        if self.noise_draws < 1:
            raise ValueError(f"noise_draws: expected 1 or more, got {self.noise_draws}")


class ClassStage:
    """Pictures and their classes in, flow loss out, with REPA's term where it is asked for."""

    def __init__(self, recipe: ClassRecipe):
        self.recipe = recipe
        self.store = recipe.pictures.open()
        model = ClassGenerator(replace(recipe.generator, class_names=CLASSES))
        model.dit.gradient_checkpointing = recipe.gradient_checkpointing
        prepare(model, recipe.codec_run, recipe.vae, recipe.allow_narrow)
        self.model, self.modules = model, {"generator": model}
        self.groups = body_groups(model, recipe.matrices)
        if recipe.alignment is not None:
            self._align(recipe.alignment)
        self.latents = None if recipe.latents is None else kept_latents(model, self.store, recipe.latents)

    def _align(self, alignment: Alignment) -> None:
        """Add the frozen target and its projector."""
        target = build_encoder(alignment.encoder)
        load_strictly(target, trained(alignment.encoder_run, "encoder"), "encoder")
        width = self.model.settings.dit.width
        projectors = Projectors(width, (alignment.encoder.width,), alignment.hidden)
        self.modules |= {"projectors": projectors, "target": target}
        self.groups |= {"projectors": Group(), "target": FROZEN}

    def batch(self, start: int, count: int) -> dict[str, Tensor]:
        indices = shuffled(self.store.count, self.recipe.train.seed, start, count)
        labels = [class_of(self.store.scene(int(index))) for index in indices]
        batch = {"labels": torch.tensor(labels, dtype=torch.int64)}
        if self.latents is not None:
            batch["latents"] = self.latents[indices]
        if self.latents is None or self.recipe.alignment is not None:
            batch["pixels"] = self.store.pixels_of(indices)
        return batch

    def step(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        begin = generator.get_state()
        losses, aligned = self._losses(batch, generator)
        each = losses.total
        if aligned is not None:
            each = each + self.recipe.alignment.weight * aligned
        loss = each.mean()

        def again() -> None:
            generator.set_state(begin)
            self._losses(batch, generator)

        given = {name: x for name, x in batch.items() if x.is_floating_point()}
        refuse_nonfinite(loss, losses.t, each, given, self.modules, again)
        return {"loss": loss, **means({"flow": losses.flow, "direction": losses.direction, "align": aligned})}

    def _losses(
        self, batch: dict[str, Tensor], generator: torch.Generator
    ) -> tuple[FlowLosses, Tensor | None]:
        """Return the losses of each draw, [B draws], and the alignment's [B draws]."""
        recipe, draws = self.recipe, self.recipe.noise_draws
        if "latents" in batch:
            x = drawn(self.model, batch["latents"], generator)
        else:
            x = encoded(self.model, fitted(self.model, batch["pixels"]), generator)
        x, labels = repeated(x, draws), repeated(batch["labels"], draws)
        dropped = None
        if self.model.settings.dit.guidable:
            lot = torch.rand(len(x), generator=generator, device=generator.device).to(x.device)
            dropped = lot < recipe.null_probability
        at = () if recipe.alignment is None else (recipe.alignment.block,)
        losses = self.model.flow_losses(x, labels, generator=generator, dropped=dropped, at=at)
        if recipe.alignment is None:
            return losses, None
        target = self.modules["target"]
        with torch.no_grad():
            seen = target(resize_pixels(batch["pixels"], recipe.alignment.encoder.image_size))
        return losses, alignment_loss(self.modules["projectors"](losses.hidden[0]), [repeated(seen, draws)])

    def compile(self) -> None:
        compile_body(self.model)

    def sample(self, folder: Path, step: int) -> None:
        """Draw sixteen classes, twice each."""
        labels = spread(range(len(CLASSES)), 16)
        drawn = self.model.generate(labels, num_images_per_label=2, seed=0, output_type="pt")
        save_grid(drawn.images, folder, step, columns=8)

    def export(self, newest: Path, folder: Path) -> None:
        """Write the (averaged) weights of a checkpoint as a generator's folder."""
        export(self.model, newest, folder)
