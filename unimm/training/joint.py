"""The joint stage: one model learns to talk, to see and to draw, on cross entropy + 2 x flow loss (arXiv
2601.16208, section 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from unimm.dit.bound import refuse_narrow
from unimm.latents.vae import VAE
from unimm.latents.vae_folder import fill_vae
from unimm.llm.attention import train_short_rows
from unimm.model.config import ModelSettings, UniMMConfig
from unimm.model.loading import find_folder
from unimm.model.unimm import UniMM
from unimm.text.tokenizer import load_tokenizer
from unimm.training.codec import place_of, trained
from unimm.training.export import export_model, model_state, write_shell
from unimm.training.operations import TalkOperations
from unimm.training.pictures import save_grid
from unimm.training.recipe import FROZEN, Group, TrainRecipe
from unimm.training.sharding import fill, gathered
from unimm.training.source_rows import source_rows
from unimm.training.world_rows import Recipe, Rows, TalkData, check_flow, world_rows
from unimm.weights.shards import stored_tensors

_SAMPLE_PROMPTS = (
    "a photo of a red circle", "a star", "a blue square and a yellow heart", "two green stars",
    "three white hearts", "a black cross left of a pink moon", "a triangle above a square",
    "four orange squares on a slate background",
)  # fmt: skip


@dataclass(frozen=True)
class DrawingSide:
    """How the DiT is trained where it is not as the rest: Scale-RAE's takes ten times the rate."""

    lr_scale: float = 1.0
    betas: tuple[float, float] | None = None  # of AdamW


@dataclass(frozen=True)
class JointRecipe:
    """What the joint stage is run with."""

    train: TrainRecipe
    data: TalkData
    model: ModelSettings
    tokenizer: str  # its folder, or a model's, or "tiny"
    codec_run: str  # run of the decoder stage, or a model: its encoder, and of a RAE statistics and decoder
    llm: str | None = None  # folder or hub id of a Qwen2 to begin from; null: fresh weights
    vae: str | None = None  # folder of a published VAE, for a model that draws in its latents
    noise_draws: int = 4  # noise and time draws per picture; the LLM runs once for all
    flow_weight: float = 2.0
    matrices: Literal["adamw", "muon"] = "muon"  # optimiser of the weights inside; DeepSpeed takes adamw
    allow_narrow: bool = False  # train a DiT narrower than its latents all the same
    profile: str = "standard"  # whose labels are trained on; "reference": newlines and turn marks too
    drawing: DrawingSide = DrawingSide()
    gradient_checkpointing: bool = False  # compute blocks again for gradients: less memory, more time

    def __post_init__(self) -> None:
        check_flow(self.noise_draws, self.flow_weight)


@dataclass
class TalkStage:
    """Rows in, cross entropy and flow loss out: the step that the joint and the instruct stages share."""

    model: UniMM
    rows: Rows
    groups: Mapping[str, Group]
    noise_draws: int
    flow_weight: float
    modules: dict[str, nn.Module] = field(init=False)

    def __post_init__(self) -> None:
        train_short_rows(self.model.llm)
        self.modules = {"model": self.model}

    def batch(self, start: int, count: int) -> Any:
        return self.rows.batch(start, count)

    def step(self, batch: Any, generator: torch.Generator) -> dict[str, Tensor]:
        batch = self.rows.ready(batch)
        if batch.context_latents is not None:
            batch = replace(batch, context_latents=self._noised(batch.context_latents, generator))
        losses = self.model.training_losses(batch, noise_draws=self.noise_draws, generator=generator)
        total = losses.ce + self.flow_weight * losses.flow
        return {"loss": total, "ce": losses.ce, "flow": losses.flow}

    def _noised(self, latents: Tensor, generator: torch.Generator) -> Tensor:
        device = generator.device
        amount = (
            torch.rand(len(latents), 1, 1, generator=generator, device=device) * self.rows.data.context_noise
        )
        noise = torch.randn(latents.shape, generator=generator, device=device)
        return latents + (amount * noise).to(latents.device)

    def counts(self) -> Mapping[str, float]:
        return self.rows.counts()

    def amounts(self, batch: Any) -> Mapping[str, float]:
        """How much a batch is: samples' tokens, without padding, and pictures."""
        inside = getattr(batch, "batch", batch)
        pictures = len(inside.context_runs) + len(inside.query_runs)
        return {"tokens": int(inside.attention_mask.sum()), "images": pictures}

    def flops(self, batch: Any) -> float:
        """How many operations a batch is."""
        return self._operations(getattr(batch, "batch", batch))

    @cached_property
    def _operations(self) -> TalkOperations:
        return TalkOperations(self.model, self.noise_draws)  # at the first batch: who learns is known then

    def compile(self) -> None:
        if not self.rows.data.packing:  # whose lengths differ in every batch
            self.model.llm.model.compile()
        self.model.dit.compile()

    def sample(self, folder: Path, step: int) -> None:
        """Draw a few prompts, four times each."""
        drawn = self.model.generate_image(
            list(_SAMPLE_PROMPTS), num_images_per_prompt=4, seed=0, output_type="pt"
        )
        save_grid(drawn.images, folder, step, columns=8)

    def export(self, newest: Path, folder: Path) -> None:
        """Write the (averaged) weights of a checkpoint as a model folder."""
        config, tokenizer = self.model.config, self.model.tokenizer
        export_model(config, tokenizer, model_state(newest), folder, str(newest))

    def describe(self, run: Path) -> None:
        """Write what the model's folder holds beside its weights, before the first step."""
        write_shell(self.model, run)


def talk_groups(
    model: UniMM, matrices: Literal["adamw", "muon"], drawing: DrawingSide = DrawingSide()
) -> dict[str, Group]:
    """Return who learns: all but the codec; lookups and outputs by AdamW, matrices by what is asked for."""
    side = {"lr_scale": drawing.lr_scale, "betas": drawing.betas}
    wanted = {
        "dit": Group(optimizer=matrices, **side),
        "llm.model.embed_tokens": Group(),
        "queries": Group(),
        "dit.embed": Group(**side),
        "dit.head_embed": Group(**side),
        "dit.final.out": Group(**side),
        "encoder": FROZEN,
        "decoder": FROZEN,
        "drawn": FROZEN,
    }
    names = [name for name, _ in model.named_parameters()]
    present = {key: group for key, group in wanted.items() if any(n.startswith(key + ".") for n in names)}
    return {"model": Group(optimizer=matrices)} | {f"model.{key}": group for key, group in present.items()}


class JointStage(TalkStage):
    """The joint stage from a codec and fresh weights."""

    @staticmethod
    def built_in_pieces(recipe: JointRecipe) -> bool:
        """Whether no rank need ever hold the model; a VAE is read whole."""
        return recipe.vae is None

    def __init__(self, recipe: JointRecipe):
        refuse_narrow(recipe.model.dit, recipe.allow_narrow)
        model = UniMM(UniMMConfig(recipe.model))
        model.tokenizer = load_tokenizer(place_of(recipe.tokenizer))
        if recipe.gradient_checkpointing:
            model.compute_again()
        if recipe.llm is not None:
            fill_llm(model.llm, recipe.llm)
        fill_codec(model, recipe.codec_run, recipe.vae)
        super().__init__(
            model,
            talk_rows(recipe, model),
            talk_groups(model, recipe.matrices, recipe.drawing),
            recipe.noise_draws,
            recipe.flow_weight,
        )


def fill_llm(llm: nn.Module, name: str) -> None:
    """Fill a language model from a published Qwen2 of its sizes.

    Published ones have rows beyond their vocabulary, for even sizes: those that ours lacks are left out.

    Raises:
        FileNotFoundError: no such folder or hub model.
        ValueError: weights that are missing, unexpected or misshapen, or fewer rows than ours.
    """
    folder = find_folder(name)
    found = dict(stored_tensors(folder))
    for table in ("model.embed_tokens.weight", "lm_head.weight"):
        if table in found:
            found[table] = found[table][: llm.config.vocab_size]
    fill(llm, found, str(folder), llm.all_tied_weights_keys)


def fill_codec(model: UniMM, codec_run: str, vae: str | None) -> None:
    """Fill encoder, statistics and decoder from a run or a model, or the drawn space from a VAE.

    Raises:
        ValueError: a model that draws in another space without that space's folder, or one that does not with
            it, or a drawn space of a kind that is no VAE.
    """
    space = model.drawn
    if (vae is None) != (space is None):
        wanted = (
            "null, as this model draws a RAE's latents" if space is None else "the folder of the drawn VAE"
        )
        raise ValueError(f"vae: expected {wanted}, got {vae}")
    for name in ("encoder", "statistics", "decoder") if space is None else ("encoder",):
        fill(getattr(model, name), trained(codec_run, name), name)
    if space is not None:
        if not isinstance(space, VAE):
            kind = model.config.settings.drawn["kind"]
            raise ValueError(f"drawn.kind: expected a VAE's for this stage, got {kind!r}")
        fill_vae(space, vae)


def talk_rows(recipe: Recipe, model: UniMM) -> Rows:
    """Return the rows that a recipe names; the model makes their latents, to see and to draw."""
    rooms = [model.encoder, model.statistics, *([] if model.drawn is None else [model.drawn])]
    with gathered(rooms):
        return source_rows(recipe, model) if recipe.data.sources else world_rows(recipe, model)
