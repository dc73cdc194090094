"""The flow loss of a generator, sample by sample, with the hidden states that an alignment reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from unimm.flow.loss import directed_loss, velocity_loss
from unimm.flow.shifting import shift
from unimm.shapes import expect

if TYPE_CHECKING:
    from unimm.generator.base import Generator


class FlowLosses(NamedTuple):
    """The terms of each sample, the times they were drawn at, and what the blocks said."""

    total: Tensor  # [B] what is minimised: flow + direction_weight * direction
    flow: Tensor  # [B] weighted squared error of the velocity
    direction: Tensor | None  # [B] 1 - cos(velocity, target), where the settings ask for it
    t: Tensor  # [B] after the shift
    hidden: list[Tensor]  # tokens [B M W] after the blocks asked for


def flow_losses(
    model: Generator,
    latents: Tensor,
    conditions: Any,
    *,
    generator: torch.Generator,
    dropped: Tensor | None,
    size: tuple[int, int] | None,
    at: Sequence[int],
) -> FlowLosses:
    """Return the losses of normalised latents [B N C]; documented at `Generator.flow_losses`.

    Noise first, then times, both on the generator's own device. A loss that is not finite is the caller's to
    refuse, with the step it happened at (`training.finite` names where it came from).

    Raises:
        ValueError: latents of another shape.
    """
    flow, config = model.settings.flow, model.settings.dit
    num_tokens = config.grid**2 if size is None else size[0] * size[1]
    sizes = expect("latents", latents, "B N C", N=num_tokens, C=config.channels)
    x, device = latents.float(), latents.device
    noise = torch.randn(x.shape, generator=generator, device=generator.device).to(device)
    t = shift(flow.density.draw(sizes["B"], generator=generator, device=device), model.settings.alpha)
    hidden: list[Tensor] = []

    def velocity(x_t: Tensor, t: Tensor) -> Tensor:
        if not at:
            return model.velocity(x_t, t, conditions, dropped, size)
        v, states = model.features(x_t, t, conditions, at, dropped, size)
        hidden.extend(states)
        return v

    if not flow.direction_weight:
        error = velocity_loss(velocity, x, noise, t, flow.weight)
        return FlowLosses(error, error, None, t, hidden)
    error, direction = directed_loss(velocity, x, noise, t)
    error = error * flow.weight(t)
    return FlowLosses(error + flow.direction_weight * direction, error, direction, t, hidden)
