"""What is trained: cross entropy on the assistant's words, flow loss on the pictures it is to draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from unimm.flow.density import logit_normal
from unimm.flow.loss import velocity_loss
from unimm.flow.shifting import shift
from unimm.llm.splice import gather
from unimm.parts import IGNORED, Batch
from unimm.shapes import expect

if TYPE_CHECKING:
    from unimm.model.unimm import UniMM


class Losses(NamedTuple):
    """The two terms of training, each a mean; the recipe weighs them (Scale-RAE: ce + 2 flow)."""

    ce: Tensor  # nats per labelled token
    flow: Tensor  # squared error per latent number


def training_losses(model: UniMM, batch: Batch, noise_draws: int, generator: torch.Generator) -> Losses:
    """Return both losses; documented at `UniMM.training_losses`."""
    states = model(batch, rounds=False)  # as published: only pictures seen at inference are rounded
    ce = cross_entropy(model, states, batch.labels)
    if not batch.context_runs:
        ce = ce + 0 * model.projector(_nothing_seen(model)).sum()
    if batch.query_runs:
        conditions = model.connector(gather(states, batch.query_runs))
        flow = flow_loss(model, conditions, batch.target_latents, noise_draws, generator)
    else:
        conditions = model.connector(model.queries(1))
        flow = 0 * flow_loss(model, conditions, _nothing_drawn(model), 1, torch.Generator().manual_seed(0))
    return Losses(ce, flow)


def cross_entropy(model: UniMM, states: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross entropy where labels [B T] are set, of these positions' states alone."""
    rows, columns = torch.nonzero(labels[:, 1:] != IGNORED, as_tuple=True)
    if not len(rows):
        return 0 * model.llm.lm_head(states[:1, 0], labels.new_zeros(1))
    return model.llm.lm_head(states[rows, columns], labels[rows, columns + 1])


def flow_loss(
    model: UniMM, conditions: Tensor, x: Tensor | None, draws: int, generator: torch.Generator
) -> Tensor:
    """Return the mean flow loss of latents x [J N C] under conditions [J N Z], `draws` times each."""
    if x is None:
        raise ValueError(f"target_latents: expected {len(conditions)} images, one per query run, got none")
    settings = model.config.settings
    expect("target latents", x, "J N C", J=len(conditions), N=settings.num_latents, C=settings.dit.channels)
    x = x.float().repeat_interleave(draws, dim=0)
    conditions = conditions.repeat_interleave(draws, dim=0)
    noise = torch.randn(x.shape, generator=generator, device=generator.device).to(x.device)
    t = shift(logit_normal(len(x), generator=generator, device=x.device), settings.alpha)
    dropped = None
    if settings.dit.guidable:
        lot = torch.rand(len(x), generator=generator, device=generator.device).to(x.device)
        dropped = lot < settings.null_probability
    return flow_errors(model, conditions, x, noise, t, dropped).mean()


def flow_errors(
    model: UniMM, conditions: Tensor, x: Tensor, noise: Tensor, t: Tensor, dropped: Tensor | None = None
) -> Tensor:
    """Return the flow loss [J] of latents x [J N C] for given noise [J N C] and times t [J].

    Where dropped [J] (bool) is true, the null condition stands in for conditions [J N Z].
    """
    return velocity_loss(lambda x_t, t: model.velocity(x_t, t, conditions, dropped), x, noise, t)


def _nothing_seen(model: UniMM) -> Tensor:
    """Return the latents [1 N C'] of no picture that is seen."""
    encoder = model.config.settings.encoder
    return torch.zeros(1, encoder.num_tokens, encoder.width, device=model.device)


def _nothing_drawn(model: UniMM) -> Tensor:
    """Return the latents [1 N C] of no picture that is drawn."""
    settings = model.config.settings
    return torch.zeros(1, settings.num_latents, settings.dit.channels, device=model.device)
