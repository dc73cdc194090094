"""Operations of the stages of pictures, against what torch counts while a real step runs."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.training.generators import MMDIT, PIXELS, SIT, class_recipe, text_recipe
from tests.training.road import LLM, MODEL, pictures, run_of, tokenizer
from unimm import UniMM
from unimm.config import build
from unimm.latents.encoder import EncoderConfig, build_encoder
from unimm.model import UniMMConfig
from unimm.training.class_conditional import ClassStage
from unimm.training.decoder import DecoderRecipe, DecoderStage
from unimm.training.encoder import EncoderRecipe, EncoderStage
from unimm.training.optim import freeze_and_collect
from unimm.training.repa import OwnTarget
from unimm.training.speed import macs_per_picture
from unimm.training.text_to_image import TextStage
from unimm.training.vae import VAERecipe, VAEStage

EYES = {"image_size": 16, "patch_size": 4, "width": 32, "depth": 2, "heads": 2, "mlp_width": 64}
SHOWS = {
    "channels": 32, "width": 64, "depth": 3, "heads": 2, "mlp_width": 128, "patch_size": 6, "grid": 4,
}  # fmt: skip
JUDGES = {
    "backbone": "tiny", "discriminator_from": 1, "adversarial_from": 2, "optim": {"lr": 1e-3, "clip": None},
}  # fmt: skip
SEEN = {"weight": 0.5, "gram": 2.0, "backbone": "tiny"}


def eyes():
    return build_encoder(EncoderConfig(**EYES)).eval().requires_grad_(False)


@pytest.fixture(autouse=True)
def small_tiny(monkeypatch):
    """The built-in encoder is a small one, for the stages and for what counts them."""
    for name in ("decoder.tiny_encoder", "vae.tiny_encoder", "plan.pictures._tiny"):
        monkeypatch.setattr(f"unimm.training.{name}", eyes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With the folder of a model; what stages render and learn comes besides."""
    folder = tmp_path_factory.mktemp("pictures")
    dit = {**MODEL["dit"], "channels": 32, "grid": 4}
    UniMM(
        UniMMConfig({**MODEL, "encoder": EYES, "decoder": SHOWS, "dit": dit, "num_queries": 16})
    ).save_pretrained(folder / "model")
    return folder


def decoder(folder, **losses):
    values = {"train": run_of(folder, "decoder", num_steps=4), "pictures": pictures(folder)}
    values |= {"start": str(folder / "model"), "losses": {"perceptual": SEEN, **losses}}
    return DecoderStage(build(DecoderRecipe, values))


def vae(folder, **losses):
    sizes = {"latent_channels": 4, "widths": [16, 32], "image_size": 24, "norm_groups": 8}
    values = {"train": run_of(folder, "vae", num_steps=4), "pictures": pictures(folder), "vae": sizes}
    values |= {"losses": {"perceptual": SEEN, **losses}, "measured_pictures": 4}
    return VAEStage(build(VAERecipe, values))


def encoder(folder):
    values = {
        "train": run_of(folder, "encoder"),
        "pictures": pictures(folder),
        "tokenizer": tokenizer(folder),
    }
    values |= {"encoder": EYES, "text": {**LLM, "width": 32, "context": 64}, "painter": SHOWS}
    return EncoderStage(build(EncoderRecipe, values))


def by_text(folder, **text):
    sizes = {**MMDIT, "channels": 12, "grid": 6, "width": 48, "depth": 2}
    recipe = text_recipe(folder, noise_draws=2, codec_run=None)
    generator = {"body": sizes, "latents": PIXELS, "text": recipe.generator.text.__dict__}
    return TextStage(text_recipe(
        folder, generator=generator, noise_draws=2, codec_run=None,
        text={"words": str(folder / "words"), **text},
    ))  # fmt: skip


def by_class(folder, **changes):
    generator = {"body": {**SIT, "width": 96}, "latents": PIXELS}
    return ClassStage(class_recipe(folder, generator=generator, codec_run=None, noise_draws=2, **changes))


class Everywhere(nullcontext):
    """In place of torch's tracker of modules, whose hooks do not bear gradients inside a step."""

    parents = frozenset({"Global"})


def counted(stage, batch) -> int:
    """Return what torch counts in a whole update; of fused attention on a CPU it counts nothing."""
    freeze_and_collect(stage.modules, stage.groups)
    draws = torch.Generator().manual_seed(0)
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = Everywhere()
    with sdpa_kernel(SDPBackend.MATH), counter:
        stage.step(batch, draws)["loss"].backward()
        getattr(stage, "after_update", lambda seen: None)([(batch, draws)])
    return counter.get_total_flops()


@pytest.mark.parametrize("make", [decoder, vae])
@pytest.mark.parametrize("updates", [0, 1, 2])
def test_operations_are_those_of_the_terms_that_have_begun(folder, make, updates):
    """Before the adversary, while the discriminator trains alone, and where it is heard."""
    stage = make(folder, adversary=JUDGES)
    stage.modules["losses"].updates += updates
    batch = stage.batch(0, 4)
    expected = stage.flops(batch)
    assert expected == pytest.approx(counted(stage, batch), rel=0.03)
    assert stage.amounts(batch) == {"images": 4}


def test_without_an_adversary_nothing_is_counted_of_one(folder):
    stage = decoder(folder)
    batch = stage.batch(0, 4)
    assert stage.flops(batch) == pytest.approx(counted(stage, batch), rel=0.03)


def test_operations_of_an_encoder_s_step_are_those_that_torch_counts(folder):
    """Of captions as long as the tower reads, as which all are counted."""
    stage = encoder(folder)
    batch = stage.batch(0, 4)
    assert stage.amounts(batch) == {"images": 4, "tokens": int(batch["lengths"].sum())}
    batch["lengths"] = torch.full_like(batch["lengths"], 64)
    assert stage.flops(batch) == pytest.approx(counted(stage, batch), rel=0.03)


@pytest.mark.parametrize("text", [{"lr_scale": 0.5}, {"lr_scale": 0.0}])
def test_text_towers_count_forward_and_backward_where_they_learn(folder, text):
    stage = by_text(folder, **text)
    batch = stage.batch(0, 4)
    assert stage.flops(batch) == pytest.approx(counted(stage, batch), rel=0.03)
    assert stage.amounts(batch) == {"images": 4}


def test_operations_of_a_class_s_step_are_those_of_the_closed_form(folder):
    stage = by_class(folder)
    batch = stage.batch(0, 4)
    pictures, draws, forward_and_back, multiply_and_add = 4, 2, 3, 2
    once = multiply_and_add * macs_per_picture(stage.model.dit)
    closed = pictures * draws * forward_and_back * once
    assert stage.flops(batch) == pytest.approx(closed, rel=0.03)


def test_what_states_are_aligned_with_counts(folder, monkeypatch):
    monkeypatch.setattr(OwnTarget, "load", OwnTarget.unfilled)
    own = [{"run": "x", "encoder": {**EYES, "image_size": 12}}]
    stage = by_class(folder, alignment={"block": 1, "hidden": 32, "own": own})
    batch = stage.batch(0, 4)
    assert stage.flops(batch) == pytest.approx(counted(stage, batch), rel=0.03)


def test_counting_draws_nothing(folder):
    """A count in the first step of each part of a run may not change what is drawn after it."""
    stage, before = decoder(folder, adversary=JUDGES), torch.get_rng_state()
    stage.flops(stage.batch(0, 4))
    assert torch.equal(torch.get_rng_state(), before)
