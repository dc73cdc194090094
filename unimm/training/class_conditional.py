"""The class-conditional stage: a body learns to draw the world's classes in a latent space.

RAE with DiT^DH (Zheng et al. 2025), LightningDiT (Yao & Wang 2025), SiT with REPA (Yu et al. 2025): which of
them is a matter of the generator's settings and of `alignment`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from unimm.alignment import alignment_loss
from unimm.data.cache import LatentCache
from unimm.data.labelled import LabelledSettings
from unimm.data.order import shuffled
from unimm.data.skipped import SkipList
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
from unimm.training.plan.drawing import by_class
from unimm.training.plan.estimate import operations
from unimm.training.plan.workload import Workload
from unimm.training.recipe import FROZEN, Group, TrainRecipe
from unimm.training.repa import Alignment
from unimm.world.classes import CLASSES, class_of


@dataclass(frozen=True)
class ClassRecipe:
    """What the class-conditional stage is run with."""

    train: TrainRecipe
    generator: GeneratorSettings
    pictures: Pictures | None = None  # of the world; scenes: single
    data: LabelledSettings | None = None  # or a data set with classes
    codec_run: str | None = None  # for latents of kind rae: run of the decoder stage, or a model
    vae: str | None = None  # for latents of a VAE: its folder
    latents: str | None = None  # folder of a latent cache, filled on first use; null encodes every batch
    latents_kind: str = "bf16"  # of `cache_kinds.KINDS`: how it keeps them
    alignment: Alignment | None = None
    null_probability: float = 0.1  # how often the label is dropped (classifier-free guidance)
    noise_draws: int = 1  # noise and time draws per picture
    matrices: Literal["adamw", "muon"] = "adamw"  # optimiser of the weights inside; DeepSpeed takes adamw
    allow_narrow: bool = False  # train a body narrower than its latents all the same
    gradient_checkpointing: bool = False  # compute blocks again for gradients: less memory, more time

    def __post_init__(self) -> None:
        if (self.pictures is None) == (self.data is None):
            got = "neither" if self.pictures is None else "both"
            raise ValueError(f"config: expected either pictures (of the world) or data, got {got}")
        if self.pictures is not None:
            if self.pictures.scenes != "single":
                raise ValueError(
                    "pictures.scenes: expected 'single', as only such have a class, "
                    f"got {self.pictures.scenes!r}"
                )
            expect_classes(self.generator, len(CLASSES), "as the world has")
        if not 0 <= self.null_probability < 1:
            raise ValueError(f"null_probability: expected a number in [0, 1), got {self.null_probability}")
        if self.noise_draws < 1:
            raise ValueError(f"noise_draws: expected 1 or more, got {self.noise_draws}")
        if self.alignment is not None:
            self.alignment.check(self.generator.dit)


def expect_classes(generator: GeneratorSettings, count: int, why: str) -> None:
    """Refuse a body of another number of classes.

    Raises:
        ValueError: it has.
    """
    found = getattr(generator.dit, "num_classes", None)
    if found != count:
        raise ValueError(f"generator.body.num_classes: expected {count}, {why}, got {found}")


class WorldClasses:
    """The world's pictures and their classes, by index."""

    def __init__(self, pictures: Pictures):
        self.store = pictures.open()

    def chosen(
        self, indices: np.ndarray, start: int, kept: LatentCache | None
    ) -> tuple[np.ndarray, list[int]]:
        """Return the pictures at positions from `start` on, and their classes."""
        return indices, [class_of(self.store.scene(int(index))) for index in indices]

    def counts(self) -> Mapping[str, float]:
        """Return nothing: no picture is broken."""
        return {}


class FolderClasses:
    """Pictures of a data set and their classes; broken ones are replaced, counted and listed."""

    def __init__(self, recipe: ClassRecipe):
        """Open them.

        Raises:
            ValueError: a body of another number of classes.
        """
        self.store = recipe.data.open()
        expect_classes(recipe.generator, self.store.num_classes, f"as {recipe.data.path} has")
        self._skipped, self._count = SkipList(Path(recipe.train.output)), 0

    def chosen(
        self, indices: np.ndarray, start: int, kept: LatentCache | None
    ) -> tuple[np.ndarray, list[int]]:
        """Return the pictures at positions from `start` on, or what stands in for them, and their classes."""
        found = [self.store.usable(int(index), start + at, kept) for at, index in enumerate(indices)]
        for _, skipped in found:
            self._skipped.add(skipped)
            self._count += bool(skipped)
        chosen = np.array([index for index, _ in found], dtype=np.int64)
        return chosen, [self.store.label(int(index)) for index in chosen]

    def counts(self) -> Mapping[str, float]:
        """Return how many positions were given to another picture."""
        return {"skipped_samples": self._count}


def class_groups(recipe: ClassRecipe, modules: Mapping[str, nn.Module]) -> dict[str, Group]:
    """Return who learns: the body, and REPA's projectors."""
    groups = body_groups(modules["generator"], recipe.matrices)
    return groups | ({} if recipe.alignment is None else {"projectors": Group(), "targets": FROZEN})


def class_workload(recipe: ClassRecipe) -> Workload:
    """Return what a recipe's micro-batch computes."""
    return by_class(recipe, lambda modules: class_groups(recipe, modules))


class ClassStage:
    """Pictures and their classes in, flow loss out, with REPA's term where it is asked for."""

    def __init__(self, recipe: ClassRecipe):
        self.recipe = recipe
        self.shown = WorldClasses(recipe.pictures) if recipe.data is None else FolderClasses(recipe)
        self.store = self.shown.store
        names = CLASSES if recipe.data is None else recipe.generator.class_names
        model = ClassGenerator(replace(recipe.generator, class_names=names))
        model.dit.gradient_checkpointing = recipe.gradient_checkpointing
        prepare(model, recipe.codec_run, recipe.vae, recipe.allow_narrow)
        self.model, self.modules = model, {"generator": model}
        if recipe.alignment is not None:
            projectors = recipe.alignment.projectors(model.settings.dit.width)
            self.modules |= {"projectors": projectors, "targets": recipe.alignment.load()}
        self.groups = class_groups(recipe, self.modules)
        self.latents = None if recipe.latents is None else self._kept(model)

    def _kept(self, model: ClassGenerator) -> LatentCache:
        return kept_latents(model, self.store, self.recipe.latents, self.recipe.latents_kind)

    def counts(self) -> Mapping[str, float]:
        return self.shown.counts()

    def batch(self, start: int, count: int) -> dict[str, Tensor]:
        indices = shuffled(self.store.count, self.recipe.train.seed, start, count)
        indices, labels = self.shown.chosen(indices, start, self.latents)
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

    def amounts(self, batch: dict[str, Tensor]) -> Mapping[str, float]:
        return {"images": len(batch["labels"])}

    def flops(self, batch: dict[str, Tensor]) -> float:
        return self._operations * len(batch["labels"])

    @cached_property
    def _operations(self) -> int:
        return operations(class_workload(self.recipe), 1)

    def compile(self) -> None:
        compile_body(self.model)

    def sample(self, folder: Path, step: int) -> None:
        """Draw sixteen classes, twice each."""
        labels = spread(range(self.model.settings.dit.num_classes), 16)
        drawn = self.model.generate(labels, num_images_per_label=2, seed=0, output_type="pt")
        save_grid(drawn.images, folder, step, columns=8)

    def export(self, newest: Path, folder: Path) -> None:
        """Write the (averaged) weights of a checkpoint as a generator's folder."""
        export(self.model, newest, folder)
