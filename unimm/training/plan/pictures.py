"""Workloads of the stages that learn from pictures alone: encoder, decoder and vae.

Their networks are built of shapes from the sizes that a recipe tells; files of weights need not be there.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from unimm.latents.autoencoder import RAEConfig
from unimm.latents.decoder import RAEDecoder
from unimm.latents.encoder import build_encoder
from unimm.latents.encoders.tower import Encoder
from unimm.latents.pixels import resize_pixels
from unimm.latents.statistics import LatentStatistics
from unimm.latents.vae import VAE
from unimm.model.loading import find_folder, read_config
from unimm.perceptual.lpips import Lpips, network_of
from unimm.training.adversary.augment import NUM_DRAWS, AugmentConfig, augment
from unimm.training.adversary.critic import AdversaryRecipe, quantised
from unimm.training.adversary.discriminator import Discriminator
from unimm.training.adversary.losses import adaptive_weight, generator_loss
from unimm.training.codec import raw_latents
from unimm.training.encoder_heads import Heads, hide_patches, sigmoid_loss
from unimm.training.picture_losses import LPIPS, Networks, PerceptualRecipe, PictureCritic
from unimm.training.plan.passes import Pass, count_pass
from unimm.training.plan.workload import Workload
from unimm.training.recipe import Group

if TYPE_CHECKING:  # the stages count their operations by these workloads
    from unimm.training.decoder import DecoderRecipe
    from unimm.training.encoder import EncoderRecipe
    from unimm.training.vae import VAERecipe

Modules = Mapping[str, nn.Module]
Groups = Callable[[Modules], Mapping[str, Group]]


def seeing(recipe: EncoderRecipe, groups: Groups) -> Workload:
    """Return the workload of the encoder stage; captions are as long as the text tower reads."""
    config, tokens = recipe.encoder, recipe.text.context

    def build(again: bool) -> dict[str, nn.Module]:
        return {"encoder": build_encoder(config).train(), "heads": Heads(recipe).train()}

    def passes(modules: Modules, samples: int, precision: str) -> dict[str, Pass]:
        encoder, heads = modules["encoder"], modules["heads"]
        shape = samples, config.num_tokens, config.width

        def see() -> Tensor:
            small = resize_pixels(_pixels(samples, recipe.pictures.pixels), config.image_size)
            hidden = torch.zeros(samples, config.num_tokens, dtype=torch.bool)
            return encoder(hide_patches(small, config.patch_size, hidden))

        def paint() -> Tensor:
            noisy = torch.empty(shape, requires_grad=True) + torch.empty(shape)
            return (heads.painter(noisy) - _pixels(samples, recipe.pictures.pixels)).abs().mean()

        def tell() -> tuple[Tensor, Tensor]:
            latents = torch.empty(shape, requires_grad=True)
            ids = torch.zeros(samples, tokens, dtype=torch.int64)
            image, text = heads.image_embedding(latents), heads.text_embedding(ids, ids[:, 0] + 1)
            same = torch.zeros(samples, samples, dtype=torch.bool)
            contrast = sigmoid_loss(image, text, same, heads.log_scale, heads.bias)
            states = heads.caption_states(latents, ids)
            return contrast, heads.surprise(states.flatten(0, 1), ids.flatten())

        return {
            "encoder": count_pass(see, encoder, precision),
            "painter": count_pass(paint, heads.painter, precision),
            "text": count_pass(tell, heads, precision),
        }

    return Workload(build, groups, passes, 1, tokens)


def showing(recipe: DecoderRecipe, sizes: RAEConfig, groups: Groups) -> Workload:
    """Return the workload of the decoder stage, on an encoder and a decoder of these sizes."""
    side = sizes.image_size

    def build(again: bool) -> dict[str, nn.Module]:
        encoder = build_encoder(sizes.encoder).eval().requires_grad_(False)
        decoder = RAEDecoder(sizes.decoder).train()
        decoder.gradient_checkpointing = again
        return {
            "encoder": encoder,
            "statistics": LatentStatistics(sizes.grid**2, sizes.channels),
            "decoder": decoder,
            "losses": _critic(recipe, encoder),
        }

    def passes(modules: Modules, samples: int, precision: str) -> dict[str, Pass]:
        encoder, decoder, losses = (modules[name] for name in ("encoder", "decoder", "losses"))

        @torch.no_grad()
        def see() -> Tensor:
            return raw_latents(encoder, _pixels(samples, side))

        def show() -> Tensor:
            return decoder(torch.empty(samples, sizes.grid**2, sizes.channels))

        @torch.no_grad()
        def fresh() -> Tensor:
            return decoder(see())

        return {
            **_discriminator_pass(losses, fresh, [encoder, decoder, losses], precision),
            "encoder": count_pass(see, encoder, precision),
            "decoder": count_pass(show, decoder, precision),
            **_losses_passes(losses, (samples, 3, side, side), [encoder, losses], precision),
        }

    return Workload(build, groups, passes, 1, 0)


def compressing(recipe: VAERecipe, groups: Groups) -> Workload:
    """Return the workload of the vae stage."""
    config = recipe.vae.config()

    def build(again: bool) -> dict[str, nn.Module]:
        return {"vae": VAE(config).train(), "losses": _critic(recipe, None)}

    def passes(modules: Modules, samples: int, precision: str) -> dict[str, Pass]:
        vae, losses, side = modules["vae"], modules["losses"], config.image_size

        def see() -> tuple[Tensor, Tensor]:
            return vae.moments(_pixels(samples, side))

        def show() -> Tensor:
            mean, std = (
                torch.empty(samples, config.grid**2, config.channels, requires_grad=True) for _ in range(2)
            )
            return vae(vae.draw(mean, std, torch.Generator()))

        @torch.no_grad()
        def fresh() -> Tensor:
            return vae(see()[0])

        return {
            **_discriminator_pass(losses, fresh, [vae, losses], precision),
            "encoder": count_pass(see, vae, precision),
            "decoder": count_pass(show, vae, precision),
            **_losses_passes(losses, (samples, 3, side, side), [losses], precision),
        }

    return Workload(build, groups, passes, 1, 0)


def _losses_passes(
    losses: PictureCritic, shape: tuple[int, int, int, int], modules: list[nn.Module], precision: str
) -> dict[str, Pass]:
    """Return what comparing pictures of a shape costs, and what the adversary adds.

    The weight of what it says asks for gradients of both before the backward pass: they are in the forward
    one here, up to the pictures. The last layer's own are a small matter and left out.
    """

    def compared() -> tuple[Tensor, Tensor]:
        shown, pixels = torch.empty(shape, requires_grad=True), torch.empty(shape)
        terms = {"pixels": (shown - pixels).abs().mean(), **losses.perceived(shown, pixels)}
        return shown, losses.weighed(terms)

    def heard() -> Tensor:
        shown, total = compared()
        critic = losses.critic
        said = generator_loss(critic.discriminator(_augmented(shown, critic.recipe.augment)))
        return total + adaptive_weight(total, said, shown) * said

    alone = count_pass(lambda: compared()[1], modules, precision)
    if losses.critic is None:
        return {"losses": alone}
    return {"losses": alone, "adversary": _beyond(count_pass(heard, modules, precision), alone)}


def _beyond(both: Pass, first: Pass) -> Pass:
    """Return what a room takes beside the one that is run before it, of what both take together."""
    return Pass(
        saved_bytes=both.saved_bytes - first.saved_bytes,
        forward_bytes=both.forward_bytes - first.saved_bytes,
        backward_bytes=both.backward_bytes - first.saved_bytes,
        forward_flops=both.forward_flops - first.forward_flops,
        backward_flops=both.backward_flops - first.backward_flops,
    )


def _discriminator_pass(
    losses: PictureCritic, fresh: Callable[[], Tensor], modules: Iterable[nn.Module], precision: str
) -> dict[str, Pass]:
    """Return what the discriminator's own training costs, which begins and ends between two steps.

    All of it is in the forward pass, so as the first room it holds nothing while the others are run.

    Args:
        losses: with the critic, if there is one.
        fresh: makes reconstructions once more.
        modules: see `count_pass`.
        precision: see `count_pass`.
    """
    critic = losses.critic
    if critic is None:
        return {}

    def update() -> tuple[Tensor, ...]:
        heads = list(critic.discriminator.heads.parameters())
        totals = [torch.zeros_like(x, requires_grad=False) for x in heads]
        fake = fresh()
        real, fake = (_augmented(x, critic.recipe.augment) for x in (torch.empty_like(fake), quantised(fake)))
        gradients = torch.autograd.grad(critic.judged(real, fake)["loss"], heads)
        return *totals, *gradients

    with critic.training_heads():
        return {"discriminator": count_pass(update, modules, precision)}


def _augmented(pixels: Tensor, config: AugmentConfig) -> Tensor:
    """Return pixels augmented in every way; which ways happen is drawn for a whole batch in training."""
    return augment(pixels, torch.empty(NUM_DRAWS, len(pixels)), [config.probability > 0] * 3, config)


def _pixels(samples: int, side: int) -> Tensor:
    return torch.empty(samples, 3, side, side)


def _critic(recipe: DecoderRecipe | VAERecipe, encoder: Encoder | None) -> PictureCritic:
    return PictureCritic(recipe.losses, recipe.train, encoder, _tiny, _RANDOM)


def _tiny() -> Encoder:
    return build_encoder(read_config(find_folder("tiny")).settings.encoder)


def _lpips(recipe: PerceptualRecipe) -> nn.Module:
    with warnings.catch_warnings():
        # The package fills in its weights of the channels, which shapes do not take.
        warnings.filterwarnings("ignore", message=".*meta.*no-op", category=UserWarning)
        return Lpips(network_of(LPIPS[recipe.backbone]))


def _discriminator(recipe: AdversaryRecipe, tiny: Callable[[], Encoder]) -> Discriminator:
    return recipe.build(tiny) if recipe.backbone == "tiny" else Discriminator(recipe.sizes)


_RANDOM = Networks(_lpips, _discriminator)
"""Of the sizes that the files of weights have, without the files."""
