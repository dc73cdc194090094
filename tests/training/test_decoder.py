"""The decoder stage with all its terms: names, starts, noise, resuming, its product, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from tests.training.road import DECODER, ENCODER, MODEL, pictures, run_of
from unimm import UniMM
from unimm.config import build
from unimm.latents.autoencoder import RAE, RAEConfig
from unimm.latents.decoder import DecoderConfig
from unimm.latents.encoder import EncoderConfig
from unimm.model import UniMMConfig
from unimm.training import checkpoint
from unimm.training.adversary.losses import adaptive_weight
from unimm.training.decoder import DecoderRecipe, DecoderStage
from unimm.training.log import read_metrics
from unimm.training.loop import draws, train
from unimm.training.picture_losses import PictureCritic, PictureLosses
from unimm.training.recipe import TrainRecipe

ADVERSARY = {
    "backbone": "tiny", "discriminator_from": 1, "adversarial_from": 2, "optim": {"lr": 1e-3, "clip": None},
}  # fmt: skip
COARSE = {**DECODER, "grid": 4}
CLOCK = ("second", "mfu", "flops")  # in names of what a clock measured


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """The folder of a miniature model, and of a store of pictures."""
    folder = tmp_path_factory.mktemp("decoder")
    torch.manual_seed(0)
    model = UniMM(UniMMConfig({**MODEL}))
    model.statistics.set(torch.zeros(9, 16), torch.full((9, 16), 1.5))
    model.save_pretrained(folder / "model")
    return folder


@pytest.fixture(autouse=True)
def small_tiny(start, monkeypatch):
    """The built-in encoder is that of the miniature, so that nothing here waits for the real one."""
    for module in ("decoder", "vae"):
        monkeypatch.setattr(f"unimm.training.{module}.tiny_encoder", lambda: encoder_of(start))


def encoder_of(start):
    return UniMM.from_pretrained(start / "model").encoder


def recipe_of(start, output, *, losses=None, changes=None, **run):
    values = {
        "train": run_of(output, "run", **{"num_steps": 4, "ema_decay": 0.9, **run}),
        "pictures": pictures(start),
        "start": str(start / "model"),
        "losses": {
            "perceptual": {"weight": 0.5, "gram": 2.0, "backbone": "tiny"},
            "adversary": ADVERSARY,
            **(losses or {}),
        },
        **(changes or {}),
    }
    return build(DecoderRecipe, values)


def run(recipe):
    torch.manual_seed(recipe.train.seed)
    stage = DecoderStage(recipe)
    return stage, train(recipe.train, stage, recipe)


def facts(folder):
    rows = read_metrics(folder)
    return [{name: x for name, x in row.items() if not any(c in name for c in CLOCK)} for row in rows]


def weights(result, name):
    return load_file(result.checkpoint / f"{name}.safetensors")


@pytest.fixture(scope="module")
def unbroken(start, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unimm.training.decoder.tiny_encoder", lambda: encoder_of(start))
        recipe = recipe_of(start, tmp_path_factory.mktemp("unbroken"))
        return recipe, *run(recipe)


def test_every_term_begins_at_its_start_under_its_backbone_s_name(unbroken):
    rows = read_metrics(unbroken[0].train.output)
    always, critic = {"pixels", "perceptual@tiny", "gram@tiny"}, "disc@tiny_"
    assert all(always <= row.keys() for row in rows)
    heard = [f"{critic}heard" in row for row in rows]
    judged = [f"{critic}loss" in row for row in rows]
    assert heard == [False, False, True, True]
    assert judged == [False, True, True, True]
    assert not any("lpips" in name or name in ("perceptual", "gram") for row in rows for name in row)


def test_the_loss_is_the_weighted_sum_of_its_terms(unbroken):
    for row in read_metrics(unbroken[0].train.output):
        expected = row["pixels"] + 0.5 * row["perceptual@tiny"] + 2.0 * row["gram@tiny"]
        if "disc@tiny_heard" in row:
            expected += 0.75 * row["disc@tiny_scale"] * row["disc@tiny_heard"]
        assert row["loss"] == pytest.approx(expected, rel=1e-4)


def test_the_discriminator_keeps_its_own_time(unbroken):
    stage = unbroken[1]
    losses = stage.modules["losses"]
    assert int(losses.updates) == 4
    assert int(losses.critic.optimizer.updates) == 3  # from step 1 on


def test_a_stopped_run_goes_on_to_the_same_bits(unbroken, start, tmp_path):
    recipe, _, whole = unbroken
    broken = recipe_of(start, tmp_path)
    for steps in (2, 4):  # stopped between the discriminator's first update and the decoder's first hearing
        part = replace(broken, train=replace(broken.train, time_limit_minutes=1e-9 if steps == 2 else None))
        _, result = run(part)
        if steps == 2:
            _, result = run(part)
            assert result.step == 2
    for name in ("weights", "ema"):
        ours, theirs = weights(result, name), weights(whole, name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert any(key.startswith("losses.critic.optimizer.exp_avg") for key in weights(whole, "weights"))
    assert facts(broken.train.output) == facts(recipe.train.output)


def test_the_product_is_the_model_with_the_averaged_decoder(unbroken, start, tmp_path):
    _, stage, result = unbroken
    stage.export(result.checkpoint, tmp_path / "model")
    before = UniMM.from_pretrained(start / "model").state_dict()
    after = UniMM.from_pretrained(tmp_path / "model").state_dict()
    changed = {key.split(".")[0] for key in after if not torch.equal(after[key], before[key])}
    assert changed == {"decoder"}
    averaged = checkpoint.averaged_state(result.checkpoint)
    assert torch.equal(after["decoder.out.weight"], averaged["decoder.out.weight"])
    assert not torch.equal(after["decoder.out.weight"], stage.modules["decoder"].out.weight)


def test_two_halves_of_an_update_hear_as_one_and_judge_once(start, tmp_path):
    recipe = recipe_of(start, tmp_path, accumulation=2)
    stage, _ = run(recipe)
    assert int(stage.modules["losses"].critic.optimizer.updates) == 3
    assert len(read_metrics(recipe.train.output)) == 4


def test_the_discriminator_sees_the_updated_decoder_and_no_noise(unbroken):
    stage = unbroken[1]
    batch = stage.batch(0, 2)
    with torch.no_grad():
        small = torch.nn.functional.interpolate(batch, (12, 12), mode="bilinear", antialias=True)
        latents = stage.modules["encoder"](small)
        expected = stage.modules["decoder"](latents)
    [(real, fresh, _)] = stage.fresh([(batch, draws(0, 0, torch.device("cpu")))])
    assert torch.equal(real, batch)
    torch.testing.assert_close(fresh, expected)
    assert stage.modules["decoder"].training


def test_the_adaptive_weight_is_that_of_the_last_layer(unbroken):
    stage = unbroken[1]
    decoder, losses, batch = stage.modules["decoder"], stage.modules["losses"], stage.batch(0, 3)
    found = stage.step(batch, draws(0, 0, torch.device("cpu")))
    generator = draws(0, 0, torch.device("cpu"))
    shown = decoder(stage.noised_normalised(stage._raw(batch), generator))
    heard = losses.critic.heard(shown, generator)
    rest = (shown - batch).abs().mean() + 0.5 * found["perceptual@tiny"] + 2 * found["gram@tiny"]
    assert found["disc@tiny_scale"] > 0
    plain = (shown - batch).abs().mean()
    # Perceptual terms move the weight, so it is not that of L1 alone.
    assert adaptive_weight(plain, heard, decoder.out.weight) != found["disc@tiny_scale"]
    assert found["loss"].item() == pytest.approx(
        (rest + 0.75 * found["disc@tiny_scale"] * heard).item(), rel=1e-5
    )


def test_noise_on_raw_latents_is_the_published_code_s(start, tmp_path):
    changes = {"noise_on": "raw", "noise_law": "uniform", "latent_noise": 0.8}
    stage = DecoderStage(recipe_of(start, tmp_path, changes=changes))
    rae = RAE(RAEConfig(EncoderConfig(**ENCODER), DecoderConfig(**DECODER)))
    for name in ("encoder", "statistics", "decoder"):
        getattr(rae, name).load_state_dict(stage.modules[name].state_dict())
    pixels = torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    cpu = torch.device("cpu")
    ours = stage.noised_raw(stage._raw(pixels), draws(0, 0, cpu))
    theirs = rae.encode_noised(pixels, 0.8, draws(0, 0, cpu), "uniform")
    torch.testing.assert_close(stage.modules["statistics"].normalise(ours), theirs)


def test_a_fresh_decoder_of_other_sizes_becomes_the_model_s(start, tmp_path):
    changes = {"fresh": True, "decoder": {**DECODER, "width": 24, "depth": 2}}
    recipe = recipe_of(start, tmp_path, changes=changes, losses={"adversary": None})
    stage, result = run(replace(recipe, train=replace(recipe.train, num_steps=1)))
    stage.export(result.checkpoint, tmp_path / "model")
    assert UniMM.from_pretrained(tmp_path / "model").config.settings.decoder.width == 24


def test_starts_in_epochs_drop_what_fills_no_batch():
    train_recipe = TrainRecipe("x", 40_000, 512, build_optim())
    losses = PictureLosses(epoch_samples=1_281_167)
    assert losses.step_of(6, train_recipe) == 6 * 2502
    assert PictureLosses().step_of(6, train_recipe) == 6


def build_optim():
    from unimm.training.recipe import OptimRecipe

    return OptimRecipe(lr=1e-3)


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ({"adversary": {**ADVERSARY, "adversarial_from": 0}}, "discriminator_from = 1.* got 0"),
        ({"adversary": {**ADVERSARY, "adversarial_from": 4}}, r"train.num_steps = 4, got step 4"),
        (
            {"adversary": {**ADVERSARY, "adversarial_from": 3}, "epoch_samples": 12},
            r"train.num_steps = 4, got step 6 \(3 epochs\)",
        ),
        ({"epoch_samples": 2}, "losses.epoch_samples: expected train.batch_size = 6 or more, got 2"),
        ({"adversary": {**ADVERSARY, "backbone": "dino"}}, "DINO's file"),
        ({"perceptual": {"backbone": "lpips_vgg"}}, "torchvision's file"),
        ({"perceptual": {"weights": "vgg.pth"}}, "null for backbone 'encoder'"),
        ({"perceptual": {"weight": -1.0}}, "perceptual.weight: expected 0 or more, got -1"),
        ({"perceptual": {"backbone": "lpips"}}, "did you mean 'lpips_"),
    ],
)
def test_losses_that_contradict_themselves_are_refused(start, tmp_path, losses, message):
    with pytest.raises(ValueError, match=message):
        recipe_of(start, tmp_path, losses=losses)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder_run": "runs/x"}, "expected one of start, encoder_run, published, got start, encoder_run"),
        ({"start": None}, "expected one of .* got none"),
        ({"decoder": DECODER}, "fresh: expected true"),
        ({"noise_law": "unifrom"}, "did you mean 'uniform'"),
        (
            {"start": None, "encoder_run": "x", "encoder": ENCODER, "decoder": {**DECODER, "grid": 4}},
            "rae.decoder",
        ),
    ],
)
def test_recipes_that_contradict_themselves_are_refused(start, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        recipe_of(start, tmp_path, changes=changes)


def test_zero_3_is_refused_beside_an_adversary(start, tmp_path):
    with pytest.raises(ValueError, match="zero_stage 0, 1 or 2, got 3"):
        recipe_of(start, tmp_path, deepspeed={"zero_stage": 3}, ema_decay=None)


def test_pictures_of_another_size_are_refused(start, tmp_path):
    other = {**pictures(tmp_path), "pixels": 32, "count": 4}
    with pytest.raises(
        ValueError, match="pictures: expected 24 pixels per side, as the decoder draws, got 32"
    ):
        DecoderStage(recipe_of(start, tmp_path, changes={"pictures": other}))
    assert not list(tmp_path.iterdir())  # nothing was rendered for it


def test_a_missing_file_is_told_before_pictures_are_rendered(start, tmp_path):
    dino = {"backbone": "dino", "weights": "nowhere.pth", "sha256": "12345678"}
    recipe = recipe_of(
        start, tmp_path, losses={"adversary": {**ADVERSARY, **dino}}, changes={"pictures": pictures(tmp_path)}
    )
    with pytest.raises(FileNotFoundError, match="adversary.weights: .*no file at nowhere"):
        DecoderStage(recipe)
    assert not list(tmp_path.iterdir())


def test_backbone_encoder_needs_one():
    with pytest.raises(ValueError, match="expected 'tiny' or lpips"):
        PictureCritic(PictureLosses(), TrainRecipe("x", 4, 2, build_optim()), None, lambda: None)


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # dynamo's own, on inner tensors
def test_a_compiled_run_hears_the_discriminator_as_an_eager_one(start, tmp_path, monkeypatch):
    """The adaptive weight asks twice for gradients of a graph that compiled code may free after once."""
    eager, compiled = (recipe_of(start, tmp_path / name) for name in ("eager", "compiled"))
    original = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: original(self, backend="aot_eager"))
    run(eager)
    run(replace(compiled, train=replace(compiled.train, compile=True)))
    for ours, theirs in zip(facts(compiled.train.output), facts(eager.train.output), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)


def test_blocks_that_are_computed_again_learn_the_same(start, tmp_path):
    """Beside all losses, the weight of the adversary's among them."""
    adversary = {**ADVERSARY, "discriminator_from": 0, "adversarial_from": 0}

    def learnt(again):
        changes = {"gradient_checkpointing": again}
        recipe = recipe_of(start, tmp_path, losses={"adversary": adversary}, changes=changes)
        torch.manual_seed(0)
        stage, passes = DecoderStage(recipe), []
        decoder = stage.modules["decoder"].train()
        decoder.blocks[0].register_forward_pre_hook(lambda *_: passes.append(1))
        batch = stage.batch(0, 4)
        stage.step(batch, draws(0, 0, batch.device))["loss"].backward()
        return len(passes), {name: x.grad for name, x in decoder.named_parameters() if x.requires_grad}

    (once, plain), (twice, ours) = learnt(False), learnt(True)
    assert (once, twice) == (1, 2)
    assert plain.keys() == ours.keys()
    assert all(torch.allclose(ours[name], plain[name], atol=1e-6) for name in plain)
