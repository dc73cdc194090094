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

from unimm.alignment import alignment_loss
from unimm.data.order import shuffled
from unimm.data.world import Pictures
from unimm.generator import ClassGenerator, GeneratorSettings
from unimm.generator.losses import FlowLosses
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
from unimm.training.repa import Alignment, Targets
from unimm.world.classes import CLASSES, class_of


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
        if self.alignment is not None:
            self.alignment.check(self.generator.dit)


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
            projectors = recipe.alignment.projectors(model.settings.dit.width)
            self.modules |= {"projectors": projectors, "targets": Targets(recipe.alignment)}
            self.groups |= {"projectors": Group(), "targets": FROZEN}
        self.latents = None if recipe.latents is None else kept_latents(model, self.store, recipe.latents)

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
        each, terms = losses.total, {"flow": losses.flow, "direction": losses.direction}
        if aligned:
            terms["align"] = torch.stack(aligned).mean(0)
            each = each + self.recipe.alignment.weight * terms["align"]
        if len(aligned) > 1:
            terms |= {f"align_{at}": one for at, one in enumerate(aligned, 1)}
        loss = each.mean()

        def again() -> None:
            generator.set_state(begin)
            self._losses(batch, generator)

        given = {name: x for name, x in batch.items() if x.is_floating_point()}
        refuse_nonfinite(loss, losses.t, each, given, self.modules, again)
        return {"loss": loss, **means(terms)}

    def _losses(
        self, batch: dict[str, Tensor], generator: torch.Generator
    ) -> tuple[FlowLosses, list[Tensor]]:
        """Return the losses of each draw, [B draws], and of each alignment target [B draws]."""
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
            return losses, []
        projected = self.modules["projectors"](losses.hidden[0])
        seen = [repeated(tokens, draws) for tokens in self.modules["targets"](batch["pixels"])]
        pairs = zip(projected, seen, strict=True)
        return losses, [alignment_loss([ours], [theirs]) for ours, theirs in pairs]

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
