"""The discriminator in training: its own AdamW, what it is shown, whom it leaves alone, refusals."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
import torch
from torch import nn

from unimm.latents.encoder import EncoderConfig, build_encoder
from unimm.training.adversary import Discriminator, DiscriminatorConfig, hinge_loss
from unimm.training.adversary.augment import AugmentConfig
from unimm.training.adversary.critic import AdversaryRecipe, Critic, quantised
from unimm.training.adversary.eyes import encoder_discriminator
from unimm.training.adversary.optimizer import OwnAdamW
from unimm.training.adversary.published import BACKBONE
from unimm.training.optim import lr_factor
from unimm.training.recipe import OptimRecipe

SMALL = DiscriminatorConfig(
    image_size=16, patch_size=4, width=12, depth=2, heads=3, mlp_width=20, key_depths=(0, 1), kernel=3
)
STILL = AugmentConfig(probability=0.0)
OPTIM = OptimRecipe(lr=1e-2, warmup_steps=2, schedule="cosine", weight_decay=0.1, clip=None)


def tiny_recipe(**changes):
    values = {"optim": OPTIM, "discriminator_from": 0, "adversarial_from": 0, "backbone": "tiny"}
    return AdversaryRecipe(**{**values, "augment": STILL, **changes})


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(seed, count=3):
    return torch.rand(count, 3, 16, 16, generator=draws(seed))


def critic(**changes):
    torch.manual_seed(0)
    return Critic(tiny_recipe(**changes), Discriminator(SMALL), num_updates=10)


def test_the_own_optimiser_is_torch_s_adamw_with_the_recipe_s_schedule():
    torch.manual_seed(0)
    ours = nn.Linear(4, 3)
    theirs = nn.Linear(4, 3)
    theirs.load_state_dict(ours.state_dict())
    own = OwnAdamW(list(ours.parameters()), replace(OPTIM, clip=0.5), num_updates=6)
    groups = [
        {"params": [theirs.weight], "weight_decay": 0.1},
        {"params": [theirs.bias], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=1.0, betas=OPTIM.betas, eps=OPTIM.eps)
    for step in range(6):
        gradients = [torch.randn(p.shape, generator=draws(step)) for p in ours.parameters()]
        own.step(gradients)
        for group in adamw.param_groups:
            group["lr"] = OPTIM.lr * lr_factor(step, 6, OPTIM)
        theirs.weight.grad, theirs.bias.grad = (g.clone() for g in gradients)
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        adamw.step()
    torch.testing.assert_close(ours.state_dict(), dict(theirs.state_dict()))


def test_the_own_optimiser_goes_on_from_its_saved_state():
    def trained(breaks):
        torch.manual_seed(0)
        layer = nn.Linear(4, 3).requires_grad_(False)
        own = OwnAdamW(list(layer.parameters()), OPTIM, num_updates=6)
        for step in range(6):
            if step == breaks:
                kept = {name: x.clone() for name, x in own.state_dict().items()}
                own = OwnAdamW(list(layer.parameters()), OPTIM, num_updates=6)
                own.load_state_dict(kept)
            own.step([torch.randn(p.shape, generator=draws(step)) for p in layer.parameters()])
        return layer.state_dict()

    whole, broken = trained(None), trained(3)
    assert all(torch.equal(whole[name], broken[name]) for name in whole)


def test_an_update_lowers_the_loss_of_the_discriminator_and_touches_the_heads_alone():
    judge, real, fake = critic(), pictures(1), pictures(2) * 0.3
    backbone = {name: x.clone() for name, x in judge.discriminator.backbone.state_dict().items()}
    found = [judge.update([(real, fake, draws())]) for _ in range(8)]
    assert found[-1]["disc@tiny_loss"] < found[0]["disc@tiny_loss"]
    assert set(found[0]) == {f"disc@tiny_{name}" for name in ("loss", "right", "norm", "lr")}
    assert found[0]["disc@tiny_lr"].item() == pytest.approx(5e-3)  # half of the peak: a warm-up of two
    after = judge.discriminator.backbone.state_dict()
    assert all(torch.equal(after[name], x) for name, x in backbone.items())
    assert not any(p.requires_grad for p in judge.parameters())
    assert not judge.discriminator.heads.training


def test_the_discriminator_is_shown_pictures_as_files_hold_them():
    judge, real = critic(), pictures(1)
    fake = torch.tensor([-0.3, 0.4999, 1.7]).expand(3, 16, 16, 3).permute(0, 3, 1, 2).requires_grad_()
    seen = []
    judge.discriminator.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    judge.update([(real, fake, draws())])
    levels = seen[0] * 255
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    assert seen[0].unique().tolist() == pytest.approx([0, 127 / 255, 1])
    assert torch.equal(seen[1], real)
    assert not quantised(fake).requires_grad


def test_halves_of_a_batch_train_as_the_whole_does():
    real, fake = pictures(1, 4), pictures(2, 4)
    whole, halves = critic(), critic()
    for judge in (whole, halves):  # power iteration counts passes, so it must not move
        judge.discriminator.heads.train = lambda mode=True, heads=judge.discriminator.heads: heads
    one = whole.update([(real, fake, draws())])
    two = halves.update([(real[:2], fake[:2], draws()), (real[2:], fake[2:], draws())])
    torch.testing.assert_close(two, one, atol=1e-5, rtol=1e-4)
    ours, theirs = (  # a bias before a norm has no gradient but rounding, which AdamW takes for one
        {name: x for name, x in judge.discriminator.heads.state_dict().items() if "conv.bias" not in name}
        for judge in (halves, whole)
    )
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


def test_the_maker_of_pictures_hears_minus_the_mean_logit_and_trains_nothing_here():
    judge, shown = critic(), pictures(3).requires_grad_()
    heard = judge.heard(shown, draws())
    torch.testing.assert_close(heard, -judge.discriminator(shown).mean())
    heard.backward()
    assert shown.grad.abs().sum() > 0
    assert all(p.grad is None for p in judge.parameters())


def test_heads_over_an_encoder_see_its_blocks():
    torch.manual_seed(0)
    encoder = build_encoder(EncoderConfig(12, 4, 16, 2, 2, 32)).eval()
    discriminator = encoder_discriminator(encoder).eval()
    pixels = torch.rand(2, 3, 24, 24, generator=draws(4))
    small = torch.nn.functional.interpolate(pixels, size=(12, 12), mode="bilinear")
    last = encoder.hidden(encoder.standardise(small)).mT
    with torch.no_grad():
        logits = discriminator(pixels)
        torch.testing.assert_close(logits[:, :9], discriminator.heads[0](last))
    assert logits.shape == (2, 3 * 9)  # the last block twice, and the first
    assert hinge_loss(logits, logits).isfinite()


def test_heads_over_another_kind_of_encoder_are_refused():
    encoder = build_encoder(EncoderConfig(12, 4, 16, 1, 2, 32, kind="mae"))
    with pytest.raises(ValueError, match="expected kind 'siglip2'.*got 'mae'"):
        encoder_discriminator(encoder)


@pytest.fixture
def dino(tmp_path):
    """A file of random weights in DINO's names, its digest, and the network they are of."""
    torch.manual_seed(5)
    theirs = Discriminator(SMALL)
    path = tmp_path / "dino.pth"
    torch.save(BACKBONE.write(theirs.backbone.state_dict()), path)
    return str(path), hashlib.sha256(path.read_bytes()).hexdigest(), theirs


def test_dino_is_read_from_its_file_when_the_hash_is_right(dino):
    path, digest, theirs = dino
    recipe = tiny_recipe(backbone="dino", weights=path, sha256=digest[:10].upper(), sizes=SMALL)
    built = recipe.build(lambda: None)
    assert torch.equal(built.backbone.positions, theirs.backbone.positions)
    assert recipe.name == "disc@dino-p4"
    wrong = replace(recipe, sha256="0" * 12)
    with pytest.raises(ValueError, match=r"sha256 begins with 000000000000, got .*use backbone: tiny"):
        wrong.build(lambda: None)
    with pytest.raises(FileNotFoundError, match=r"adversary.weights: .*no file at nowhere\.pth"):
        replace(recipe, weights="nowhere.pth").build(lambda: None)
    with pytest.raises(ValueError, match="misshapen"):
        replace(recipe, sizes=replace(SMALL, patch_size=8)).build(lambda: None)


def test_timm_builds_the_same_network(dino):
    from timm.models.vision_transformer import VisionTransformer

    path, digest, theirs = dino
    timm = VisionTransformer(
        img_size=16, patch_size=4, embed_dim=12, depth=2, num_heads=3, mlp_ratio=(20 + 0.5) / 12,
        num_classes=0, act_layer=lambda: nn.GELU(approximate="tanh"),
    ).eval()  # fmt: skip
    state = torch.load(path, weights_only=True)
    missing, unexpected = timm.load_state_dict(state, strict=False)
    assert (sorted(missing), unexpected) == (["norm.bias", "norm.weight"], [])
    images = torch.rand(2, 3, 16, 16, generator=draws(6)) * 2 - 1
    with torch.no_grad():
        expected = timm.forward_intermediates(images, output_fmt="NLC", intermediates_only=True)
        found = theirs.backbone(images, (0, 1))
    for depth, tokens in enumerate(expected):
        torch.testing.assert_close(found[depth].mT, tokens)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"discriminator_from": 5, "adversarial_from": 3}, r"expected discriminator_from = 5 .* got 3"),
        ({"discriminator_from": -1}, r"discriminator_from = -1 \(0 or more\)"),
        ({"backbone": "dino"}, r"adversary.weights: expected DINO's file .* or backbone: tiny, got None"),
        ({"backbone": "dino", "weights": "x.pth"}, r"adversary.sha256: expected .*, got None"),
        (
            {"backbone": "dino", "weights": "x.pth", "sha256": "12ab"},
            "hexadecimal digits, got '12ab'",
        ),
        ({"weights": "x.pth"}, "adversary.weights: expected null for backbone tiny"),
        ({"weight": 0}, "adversary.weight: expected a number above 0, got 0"),
        ({"sizes": SMALL}, "adversary.sizes: expected none for backbone tiny.*is adversary.kernel"),
        (
            {"backbone": "dino", "weights": "x.pth", "sha256": "12345678", "kernel": 9},
            "adversary.kernel: expected none for backbone dino, got 9.*adversary.sizes.kernel",
        ),
    ],
)
def test_an_adversary_that_cannot_be_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        tiny_recipe(**change)
