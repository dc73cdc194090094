"""The joint stage: one model learns to talk, to see and to draw, on cross entropy + 2 x flow loss (arXiv
2601.16208, section 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from unimm.data.cache import LatentCache
from unimm.data.order import shuffled
from unimm.data.talk import TALKS, Talk
from unimm.data.world import Pictures, PictureStore
from unimm.dit.bound import refuse_narrow
from unimm.latents.pixels import resize_pixels
from unimm.latents.vae import VAE
from unimm.latents.vae_folder import load_vae
from unimm.llm.attention import train_short_rows
from unimm.model.config import ModelSettings, UniMMConfig
from unimm.model.profile import profile_named
from unimm.model.unimm import UniMM
from unimm.parts import Batch
from unimm.text.chat import Rendered, collate, label_marks, opened, render
from unimm.text.tokenizer import load_tokenizer, special_ids
from unimm.training import checkpoint
from unimm.training.decoder import trained
from unimm.training.latents import cached_latents
from unimm.training.pictures import save_grid
from unimm.training.recipe import FROZEN, Group, TrainRecipe
from unimm.weights.folder import load_strictly

_SAMPLE_PROMPTS = (
    "a photo of a red circle", "a star", "a blue square and a yellow heart", "two green stars",
    "three white hearts", "a black cross left of a pink moon", "a triangle above a square",
    "four orange squares on a slate background",
)  # fmt: skip


@dataclass(frozen=True)
class TalkData:
    """Which rows are read: a repeating pattern of kinds, over pictures whose latents are cached."""

    pictures: Pictures
    latents: str  # folder of the latent cache, or of one for what is seen and one for what is drawn
    pattern: tuple[str, ...] = ("draw", "draw", "look")
    row_length: int = 72  # positions every row is padded to: compiled code is made once
    context_noise: float = 0.3  # largest noise on seen latents, which may later be drawn ones

    def __post_init__(self):
        for kind in self.pattern:
            if kind not in TALKS:
                raise ValueError(f"pattern: unknown kind {kind!r} (known: {', '.join(TALKS)})")


@dataclass(frozen=True)
class JointRecipe:
    """What the joint stage is run with."""

    train: TrainRecipe
    data: TalkData
    model: ModelSettings
    tokenizer: str  # folder
    codec_run: str  # run folder of the decoder stage: encoder, and of a RAE statistics and decoder
    vae: str | None = None  # folder of a published VAE, for a model that draws in its latents
    noise_draws: int = 4  # noise and time draws per picture; the LLM runs once for all
    flow_weight: float = 2.0
    matrices: Literal["adamw", "muon"] = "muon"  # optimiser of the weights inside; DeepSpeed takes adamw
    allow_narrow: bool = False  # train a DiT narrower than its latents all the same
    profile: str = "standard"  # whose labels are trained on; "reference": newlines and turn marks too


class TalkRows:
    """Rows of talk with their latents: a pure function of the position."""

    def __init__(
        self,
        data: TalkData,
        seed: int,
        store: PictureStore,
        seen: LatentCache,
        drawn: LatentCache,
        model: UniMM,
        labels_marks: bool = False,
    ):
        """Take the settings, the pictures, their latents as they are seen and as they are drawn.

        `labels_marks` says whether newlines and turn marks of all speakers are trained on.
        """
        self.data, self.seed, self.store, self.seen, self.drawn = data, seed, store, seen, drawn
        self.tokenizer, self.system = model.tokenizer, model.config.settings.chat.system
        self.labels_marks, self.num_slots = labels_marks, model.config.settings.num_queries

    def batch(self, start: int, count: int) -> Batch:
        """Return rows start ... start + count - 1."""
        own = shuffled(self.store.count, self.seed, start, count)
        other = shuffled(self.store.count, self.seed + 1, start, count)
        talks = [self._talk(start + at, int(own[at]), int(other[at])) for at in range(count)]
        rows = [self._row(talk) for talk in talks]
        seen, drawn = [], []
        for row, talk, pair in zip(rows, talks, zip(own, other, strict=True), strict=True):
            for slots, which in zip(row.runs, talk.pictures, strict=True):
                (drawn if slots.target else seen).append(pair[which])
        pad = special_ids(self.tokenizer).pad
        batch = collate(rows, pad, self.seen[seen] if seen else None, self.drawn[drawn] if drawn else None)
        return self._padded(batch, rows)

    def _row(self, talk: Talk) -> Rendered:
        row = render(opened(talk.turns, self.system), self.tokenizer, self.num_slots)
        return label_marks(row, self.tokenizer) if self.labels_marks else row

    def _talk(self, position: int, own: int, other: int) -> Talk:
        rng = np.random.default_rng([self.seed, position])
        kind = self.data.pattern[position % len(self.data.pattern)]
        return TALKS[kind](self.store.scene(own), self.store.scene(other), rng)

    def _padded(self, batch: Batch, rows: list[Rendered]) -> Batch:
        missing = self.data.row_length - batch.input_ids.shape[1]
        if missing < 0:
            longest = max(len(row.ids) for row in rows)
            raise ValueError(
                f"data.row_length: expected {longest} or more for these rows, got {self.data.row_length}"
            )
        pad = nn.functional.pad
        return replace(
            batch,
            input_ids=pad(batch.input_ids, (0, missing), value=special_ids(self.tokenizer).pad),
            labels=pad(batch.labels, (0, missing), value=-100),
            attention_mask=pad(batch.attention_mask, (0, missing), value=False),
        )


@dataclass
class TalkStage:
    """Rows in, cross entropy and flow loss out: the step that the joint and the instruct stages share."""

    model: UniMM
    rows: TalkRows
    groups: Mapping[str, Group]
    noise_draws: int
    flow_weight: float
    modules: dict[str, nn.Module] = field(init=False)

    def __post_init__(self) -> None:
        train_short_rows(self.model.llm)
        self.modules = {"model": self.model}

    def batch(self, start: int, count: int) -> Batch:
        return self.rows.batch(start, count)

    def step(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
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

    def compile(self) -> None:
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
        prefix = "model."
        state = {key.removeprefix(prefix): value for key, value in checkpoint.averaged_state(newest).items()}
        whole = UniMM(self.model.config)  # under ZeRO-3 the model in training is in pieces
        for tied, source in whole.all_tied_weights_keys.items():
            state[tied] = state[source]
        load_strictly(whole, state, str(newest))
        whole.tokenizer = self.model.tokenizer
        whole.save_pretrained(folder)


def talk_groups(model: UniMM, matrices: Literal["adamw", "muon"]) -> dict[str, Group]:
    """Return who learns: all but the codec; lookups and outputs by AdamW, matrices by what is asked for."""
    wanted = {
        "llm.model.embed_tokens": Group(),
        "queries": Group(),
        "dit.embed": Group(),
        "dit.head_embed": Group(),
        "dit.final.out": Group(),
        "encoder": FROZEN,
        "decoder": FROZEN,
        "drawn": FROZEN,
    }
    names = [name for name, _ in model.named_parameters()]
    present = {key: group for key, group in wanted.items() if any(n.startswith(key + ".") for n in names)}
    return {"model": Group(optimizer=matrices)} | {f"model.{key}": group for key, group in present.items()}


class JointStage(TalkStage):
    """The joint stage from a codec and fresh weights."""

    def __init__(self, recipe: JointRecipe):
        refuse_narrow(recipe.model.dit, recipe.allow_narrow)
        model = UniMM(UniMMConfig(recipe.model))
        model.tokenizer = load_tokenizer(recipe.tokenizer)
        fill_codec(model, recipe.codec_run, recipe.vae)
        super().__init__(
            model,
            talk_rows(recipe, model),
            talk_groups(model, recipe.matrices),
            recipe.noise_draws,
            recipe.flow_weight,
        )


def fill_codec(model: UniMM, codec_run: str, vae: str | None) -> None:
    """Fill encoder, statistics and decoder from a run of the decoder stage, or the drawn space from a VAE.

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
        load_strictly(getattr(model, name), trained(codec_run, name), name)
    if space is not None:
        if not isinstance(space, VAE):
            kind = model.config.settings.drawn["kind"]
            raise ValueError(f"drawn.kind: expected a VAE's for this stage, got {kind!r}")
        found = load_vae(vae, space.config.packing, space.config.image_size)
        load_strictly(space, found.state_dict(), vae)


def talk_rows(recipe: JointRecipe, model: UniMM) -> TalkRows:
    """Return the rows that a recipe names; the model makes their latents, to see and to draw."""
    labels_marks = profile_named(recipe.profile).labels_marks
    store, settings = recipe.data.pictures.open(), model.eval().config.settings
    folder, encoder = Path(recipe.data.latents), settings.encoder

    def seen(pixels: Tensor) -> Tensor:
        return model.encode_image(resize_pixels(pixels, encoder.image_size))

    def drawn(pixels: Tensor) -> Tensor:
        return model.encode_target(resize_pixels(pixels, settings.target_size))

    shape = (encoder.num_tokens, encoder.width)
    if settings.sees_drawn:
        both = cached_latents(str(folder), store, model.encoder, shape, drawn)
        return TalkRows(recipe.data, recipe.train.seed, store, both, both, model, labels_marks)
    shown = cached_latents(str(folder / "seen"), store, model.encoder, shape, seen)
    shape, made_by = (settings.num_latents, settings.dit.channels), model.drawn or model.encoder
    targets = cached_latents(str(folder / "drawn"), store, made_by, shape, drawn)
    return TalkRows(recipe.data, recipe.train.seed, store, shown, targets, model, labels_marks)
