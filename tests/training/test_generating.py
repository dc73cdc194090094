"""The stages of the generators in miniature: each trains, resumes, samples and is exported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.training.generators import (
    DDT,
    LIGHTNING,
    MMDIT,
    PIXELS,
    RAE,
    TEXT,
    class_recipe,
    recipe_of,
    text_recipe,
)
from tests.training.road import ENCODER, decoder_recipe, encoder_recipe
from unimm.generator import ClassGenerator, TextGenerator
from unimm.latents.pixels import resize_pixels
from unimm.latents.targets import TARGET_SIZES, Target, TargetConfig, load_target, target_config
from unimm.latents.vae import VAE, SDVAEConfig
from unimm.training import checkpoint
from unimm.training.class_conditional import ClassStage
from unimm.training.codec import trained
from unimm.training.decoder import DecoderStage
from unimm.training.encoder import EncoderStage
from unimm.training.generating import drawn
from unimm.training.log import read_metrics
from unimm.training.loop import train
from unimm.training.text_to_image import TextStage
from unimm.world.classes import CLASSES


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which an encoder and a decoder were trained for two steps."""
    folder = tmp_path_factory.mktemp("generating")
    for recipe, stage in ((encoder_recipe(folder), EncoderStage), (decoder_recipe(folder), DecoderStage)):
        train(recipe.train, stage(recipe), recipe)
    return folder


@pytest.mark.parametrize(
    ("name", "terms"), [("ddt", {"flow"}), ("lightning", {"flow", "direction"}), ("sit", {"flow", "align"})]
)
def test_a_class_stage_trains_samples_and_draws(folder, name, terms):
    recipe = recipe_of(folder, name, train={"sample_every": 2, "ema_decay": 0.5})
    stage = ClassStage(recipe)
    before = {key: value.clone() for key, value in stage.model.state_dict().items()}
    result = train(recipe.train, stage, recipe)
    records = read_metrics(folder / name)
    assert [record["step"] for record in records] == [1, 2]
    assert terms <= records[0].keys()
    weights = {"flow": 1.0, "direction": 1.0, "align": 0.5}
    total = sum(weights[term] * records[0][term] for term in terms)
    assert records[0]["loss"] == pytest.approx(total, rel=1e-5)
    assert len(list((folder / name / "samples").iterdir())) == 1
    stage.export(result.checkpoint, folder / name / "model")
    model = ClassGenerator.from_pretrained(folder / name / "model")
    assert model.settings.class_names == CLASSES
    assert model.generate("red circle", num_inference_steps=2, seed=0).images[0].size[0] in (12, 24)
    saved = checkpoint.averaged_state(result.checkpoint)
    state = model.state_dict()
    assert all(torch.equal(value, saved[f"generator.{key}"]) for key, value in state.items())
    changed = {key.split(".")[0] for key in state if not torch.equal(state[key], before[key])}
    assert changed == {"dit"}  # the codec stays what its stage made


def test_the_codec_is_that_of_its_run_and_latents_have_its_statistics(folder):
    stage = ClassStage(class_recipe(folder))
    for name in ("encoder", "statistics", "decoder"):
        for key, value in trained(folder / "decoder", name).items():
            assert torch.equal(stage.model.space.state_dict()[f"{name}.{key}"], value)


@pytest.fixture
def small_target(tmp_path, monkeypatch):
    """The file of a published target that is small: 6 x 6 tokens of 10 channels, random weights."""
    sizes = TargetConfig("dinov1", width=10, depth=1, heads=2, patch_size=3, image_size=18, mlp_width=20)
    monkeypatch.setitem(TARGET_SIZES, "dinov1-b", sizes)
    torch.manual_seed(5)
    save_file(Target(sizes).network.state_dict(), tmp_path / "target.safetensors")
    return {"name": "dinov1-b", "file": str(tmp_path / "target.safetensors")}


def test_hidden_states_are_aligned_with_two_targets(folder, small_target):
    published = [{**small_target, "image_size": 9}]  # 3 x 3 tokens, as the body and our encoder have
    recipe = recipe_of(folder, "sit", alignment={"published": published, "weight": 0.25}, noise_draws=2)
    recipe = replace(recipe, train=replace(recipe.train, output=str(folder / "two")))
    stage = ClassStage(recipe)
    pixels = stage.batch(0, 4)["pixels"]
    ours, theirs = stage.modules["targets"](pixels)
    assert (ours.shape, theirs.shape) == ((4, 9, 16), (4, 9, 10))
    target = load_target(small_target["file"], replace(target_config("dinov1-b"), image_size=9))
    assert torch.equal(theirs, target(resize_pixels(pixels, 9)))
    train(recipe.train, stage, recipe)
    for record in read_metrics(folder / "two"):
        assert record["align"] == pytest.approx((record["align_1"] + record["align_2"]) / 2, rel=1e-5)
        assert record["align_1"] != record["align_2"]
        assert record["loss"] == pytest.approx(record["flow"] + 0.25 * record["align"], rel=1e-5)
    after = stage.modules["targets"](pixels)
    assert torch.equal(after[0], ours)
    assert torch.equal(after[1], theirs)


@pytest.mark.parametrize(
    ("alignment", "message"),
    [
        ({"own": []}, "alignment: expected at least one target under own or published"),
        ({"block": 3}, "alignment.block: expected 1 to 2, got 3"),
        (
            {"own": [{"run": "x", "encoder": {**ENCODER, "patch_size": 2}}]},
            r"own\[0\]: expected 3 x 3 tokens, as the body has, .* got 6 x 6; image_size 6 would fit",
        ),
        (
            {"published": [{"name": "dinov2-b", "file": "x"}]},
            r"published\[0\]: expected 3 x 3 tokens, .* got 16 x 16; image_size 42 would fit",
        ),
        ({"published": [{"name": "dinov2b", "file": "x"}]}, "got 'dinov2b'; did you mean 'dinov2-b'"),
        ({"published": [{"name": "dinov2-b", "file": "x", "image_size": 40}]}, "multiple of patch_size = 14"),
    ],
)
def test_an_alignment_that_does_not_fit_is_refused(alignment, message):
    with pytest.raises(ValueError, match=message):
        recipe_of(Path("nowhere"), "sit", alignment=alignment)


def test_a_target_without_its_file_is_refused_before_training(folder):
    published = [{"name": "dinov2-b", "file": str(folder / "none.pth"), "image_size": 42}]
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        ClassStage(recipe_of(folder, "sit", alignment={"published": published}))


SMALL_VAE = {"kind": "sd_vae", "image_size": 12, "widths": [4, 8], "layers_per_block": 1, "norm_groups": 2}


@pytest.fixture(scope="module")
def vae_folder(tmp_path_factory):
    """A folder of a small VAE with random weights, as diffusers saves it."""
    torch.manual_seed(6)
    sizes = {name: value for name, value in SMALL_VAE.items() if name != "kind"}
    space = VAE(SDVAEConfig(**{**sizes, "widths": tuple(sizes["widths"])}))
    folder = tmp_path_factory.mktemp("vae")
    space.tower.save_pretrained(folder)
    return folder


def vae_recipe(make, folder, vae_folder, body, **changes):
    sizes = {"channels": 4, "grid": 6, "width": 16}
    generator = {"body": {**body, **sizes}, "latents": SMALL_VAE}
    generator |= {"text": TEXT} if make is text_recipe else {}
    return make(folder, "vae", generator=generator, codec_run=None, vae=str(vae_folder), **changes)


@pytest.mark.parametrize(
    ("make", "stage", "body"), [(class_recipe, ClassStage, LIGHTNING), (text_recipe, TextStage, MMDIT)]
)
def test_a_vae_s_latents_are_drawn_anew_from_a_cache(folder, vae_folder, make, stage, body):
    kept = str(folder / f"posterior-{stage.__name__}")
    losses = []
    for latents in (None, kept):
        torch.manual_seed(0)
        made = stage(vae_recipe(make, folder, vae_folder, body, latents=latents))
        batch = made.batch(3, 4)
        each = [made.step(batch, torch.Generator().manual_seed(seed))["flow"].item() for seed in (0, 0, 1)]
        losses.append(each)
    assert losses[0][0] == losses[0][1] != losses[0][2]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)  # the cache is bfloat16
    draws = [drawn(made.model, batch["latents"], torch.Generator().manual_seed(seed)) for seed in range(400)]
    mean, std = batch["latents"].chunk(2, dim=-1)
    spread = (torch.stack(draws).mean(0) - mean) / std * 400**0.5
    assert spread.abs().max() < 5
    assert spread.std().item() == pytest.approx(1, abs=0.1)
    assert (torch.stack(draws).std(0) / std).mean().item() == pytest.approx(1, abs=0.02)


def test_cached_latents_are_the_encoded_ones(folder):
    cached, fresh = ClassStage(recipe_of(folder, "ddt")), ClassStage(class_recipe(folder))
    batch, pictures = cached.batch(5, 4), fresh.batch(5, 4)
    assert torch.equal(batch["labels"], pictures["labels"])
    pixels = torch.nn.functional.interpolate(pictures["pixels"], size=12, mode="bilinear", antialias=True)
    latents = fresh.model.encode_image(pixels)
    torch.testing.assert_close(batch["latents"], latents, rtol=1e-2, atol=1e-2)  # the cache is bfloat16


def resumed_and_whole(make, stage, folder, name) -> tuple[dict, dict]:
    """Weights of a run of four steps, and of one of two steps that went on to four."""
    options = {"checkpoint_every": 2, "ema_decay": 0.5}
    whole, parts = (make(folder, f"{name}-{kind}", train=options) for kind in ("whole", "parts"))
    found = []
    for recipe, stops in ((whole, (4,)), (parts, (2, 4))):
        for stop in stops:
            part = replace(recipe.train, num_steps=stop)
            torch.manual_seed(0)
            result = train(part, stage(replace(recipe, train=part)), recipe)
        found.append(checkpoint.averaged_state(result.checkpoint))
    return found[0], found[1]


@pytest.mark.parametrize(("make", "stage"), [(class_recipe, ClassStage), (text_recipe, TextStage)])
def test_a_resumed_run_ends_with_the_bits_of_a_whole_one(folder, make, stage):
    whole, parts = resumed_and_whole(make, stage, folder, stage.__name__)
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_a_text_stage_trains_samples_and_draws(folder):
    # Fresh gates are zero: the third step is the first whose gradient reaches the towers.
    options = {"num_steps": 4, "sample_every": 4, "ema_decay": 0.5}
    recipe = text_recipe(folder, train=options, noise_draws=2)
    stage = TextStage(recipe)
    before = {key: value.clone() for key, value in stage.model.state_dict().items()}
    result = train(recipe.train, stage, recipe)
    records = read_metrics(folder / "text")
    assert {"loss", "flow", "cut_prompts"} <= records[0].keys()
    assert len(list((folder / "text" / "samples").iterdir())) == 1
    stage.export(result.checkpoint, folder / "text" / "model")
    model = TextGenerator.from_pretrained(folder / "text" / "model")
    drawn = model.generate("two green stars", num_inference_steps=2, seed=0, guidance_scale=2.0)
    assert drawn.images[0].size == (24, 24)
    state = model.state_dict()
    changed = {key.split(".")[0] for key in state if not torch.equal(state[key], before[key])}
    assert changed == {"dit", "text"}


def test_published_towers_stay_as_they_are(folder, tmp_path):
    from unimm.text.published import FOLDERS, save_words

    source = TextStage(text_recipe(folder, "source")).model.text
    from transformers import T5EncoderModel

    source.towers["clip_l"].model.save_pretrained(tmp_path / FOLDERS["clip_l"][0])
    t5 = T5EncoderModel(source.towers["t5"].encoder.config)
    t5.encoder.load_state_dict(source.towers["t5"].encoder.state_dict())
    t5.save_pretrained(tmp_path / FOLDERS["t5"][0])
    save_words(source.words, tmp_path)
    recipe = text_recipe(folder, "published", text={"folder": str(tmp_path)})
    stage = TextStage(recipe)
    train(recipe.train, stage, recipe)
    for key, value in source.state_dict().items():
        assert torch.equal(stage.model.text.state_dict()[key], value), key
    assert not any(p.requires_grad for p in stage.model.text.parameters())


def test_encoders_are_dropped_in_training(folder):
    """With every encoder dropped always, the captions make no difference to the loss."""
    losses = []
    for text in ({"drop_probability": 1.0}, {"drop_probability": 0.0}):
        words = {"words": str(folder / "words"), "lr_scale": 1.0}
        stage = TextStage(text_recipe(folder, "dropping", text={**words, **text}))
        for parameter in stage.model.dit.parameters():
            torch.nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(0))
        batch = stage.batch(0, 4)
        other = {**batch, "tokens": stage.model.text.tokenize(["a star"] * 4)}
        steps = [stage.step(each, torch.Generator().manual_seed(0)) for each in (batch, other)]
        losses += [step["loss"].item() for step in steps]
    assert losses[0] == losses[1]
    assert losses[2] != losses[3]


def test_pictures_of_several_shapes_train_together(folder):
    body = {**MMDIT, "channels": 12, "grid": 6, "max_grid": 12}
    recipe = text_recipe(
        folder,
        "shapes",
        generator={"body": body, "latents": PIXELS, "text": TEXT},
        codec_run=None,
        aspects={"max_ratio": 3.0, "multiple": 4},
        train={"num_steps": 4},
    )
    stage = TextStage(recipe)
    assert len(stage.buckets) > 1
    shapes = {tuple(stage.batch(start, 6)["pixels"].shape[-2:]) for start in range(0, 60, 6)}
    assert len(shapes) > 1
    assert shapes <= {tuple(bucket) for bucket in stage.buckets}
    assert train(recipe.train, stage, recipe).finished


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pictures": {"folder": "x"}}, "pictures.scenes: expected 'single'"),
        ({"generator": {"body": {**DDT, "num_classes": 3}, "latents": RAE}}, "num_classes: expected 72"),
        ({"null_probability": 1.0}, r"null_probability: expected a number in \[0, 1\)"),
        ({"noise_draws": 0}, "noise_draws: expected 1 or more"),
    ],
)
def test_a_class_recipe_that_contradicts_itself_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        class_recipe(Path("nowhere"), **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": {}}, "text: expected either folder .* or words"),
        (
            {"text": {"words": "x", "drop_probability": 2.0}},
            r"drop_probability: expected a number in \[0, 1\]",
        ),
        ({"aspects": {"max_ratio": 2.0}, "latents": "x"}, "latents: expected null with aspects.max_ratio 2"),
    ],
)
def test_a_text_recipe_that_contradicts_itself_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        text_recipe(Path("nowhere"), **changes)


@pytest.mark.parametrize(("make", "stage"), [(class_recipe, ClassStage), (text_recipe, TextStage)])
def test_checkpointed_blocks_are_computed_again_and_the_gradients_are_the_same(folder, make, stage):
    gradients, calls = [], []
    for again in (False, True):
        torch.manual_seed(0)
        made = stage(make(folder, gradient_checkpointing=again))
        torch.nn.init.normal_(made.model.dit.final.out.weight)
        runs = []
        made.model.dit.blocks[0].register_forward_pre_hook(lambda *_, runs=runs: runs.append(1))
        made.model.dit.train()
        made.step(made.batch(0, 3), torch.Generator().manual_seed(0))["loss"].backward()
        gradients.append([p.grad for p in made.model.dit.parameters() if p.grad is not None])
        calls.append(len(runs))
    assert calls == [1, 2]
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(checkpointed, plain)


def test_a_narrow_body_is_refused_unless_named(folder):
    narrow = {"body": {**DDT, "head_width": 8, "head_heads": 2}, "latents": RAE}
    with pytest.raises(ValueError, match="head_width: expected at least the 16 .*0.500 of the loss"):
        ClassStage(class_recipe(folder, generator=narrow))
    ClassStage(class_recipe(folder, generator=narrow, allow_narrow=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codec_run": None}, "codec_run: expected a folder for latents of kind 'rae', got None"),
        ({"vae": "x"}, "vae: expected null for latents of kind 'rae', got x"),
        ({"codec_run": "encoder"}, "expected a module 'statistics'"),
    ],
)
def test_latents_without_their_source_are_refused(folder, changes, message):
    if changes.get("codec_run"):  # an encoder's run measured no statistics
        changes = {"codec_run": str(folder / changes["codec_run"])}
    with pytest.raises(ValueError, match=message):
        ClassStage(class_recipe(folder, **changes))


def broken_weight(stage):
    stage.model.dit.blocks[0].mlp.out.weight.data[0, 0] = torch.nan


def overflowing_block(stage):
    stage.model.dit.blocks[0].modulation.bias.data.fill_(1e30)
    stage.model.dit.blocks[0].mlp.out.bias.data.fill_(1e30)


@pytest.mark.parametrize(
    ("spoil", "where"),
    [
        (broken_weight, r"the weights of generator.dit.blocks.0.mlp.out.weight"),
        (overflowing_block, r"generator.dit.blocks.0"),
    ],
)
def test_a_loss_that_is_no_number_stops_with_step_time_and_room(folder, tmp_path, spoil, where):
    recipe = class_recipe(tmp_path, "lost", codec_run=str(folder / "decoder"))
    stage = ClassStage(recipe)
    spoil(stage)
    with pytest.raises(FloatingPointError, match=rf"step 1: .* at t = 0\.\d+.* first appeared in {where}"):
        train(recipe.train, stage, recipe)
    assert checkpoint.latest(tmp_path / "lost") is None


def test_latents_that_are_no_numbers_are_named(folder):
    stage = ClassStage(recipe_of(folder, "ddt"))
    batch = stage.batch(0, 3)
    batch["latents"][1, 2, 3] = torch.inf
    with pytest.raises(FloatingPointError, match="first appeared in the latents the step was given"):
        stage.step(batch, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("make", "stage"), [(class_recipe, ClassStage), (text_recipe, TextStage)])
def test_a_short_run_lowers_the_loss(folder, make, stage):
    train_for = {"num_steps": 80, "batch_size": 24, "log_every": 10, "optim": {"lr": 5e-3}}
    recipe = make(folder, f"short-{stage.__name__}", train=train_for, noise_draws=2)
    torch.manual_seed(0)
    train(recipe.train, stage(recipe), recipe)
    losses = [record["loss"] for record in read_metrics(recipe.train.output)]
    assert losses[-1] < 0.8 * losses[0]
