"""From conditions to latents: the DiT asked along the flow, many pictures in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unimm.flow.sampling import (
    Callback,
    DrawingState,
    OnLatents,
    Sampling,
    draw_states,
    even_passes,
    guide,
)
from unimm.flow.sampling import draw_latents as draw_in_passes
from unimm.flow.solver import Velocity
from unimm.model.drawing.budget import pass_size
from unimm.model.placing import device_of

if TYPE_CHECKING:
    from unimm.model.unimm import UniMM


@torch.no_grad()
def draw_latents(
    model: UniMM,
    conditions: Tensor,
    seeds: Sequence[int],
    sampling: Sampling,
    *,
    owners: Sequence[int] | None = None,
    negative: Tensor | None = None,
    callback: Callback | None = None,
    on_step: OnLatents | None = None,
    batch_size: int | None = None,
) -> Tensor:
    """Return latents [M N C], float32; each depends on its own seed and condition alone.

    Args:
        conditions: [U Q Z], held once for all pictures that share one.
        seeds: M numbers.
        owners: M indices into the conditions; None where there is one for each picture.
        negative: [U Q Z], or [1 Q Z] for all: what guidance leads away from; None is the null condition.
        callback, on_step: as in `UniMM.generate_image`.
        batch_size: pictures in one pass; None is as many as `budget.pass_size` says.
    """
    settings, device = model.config.settings, device_of(model.dit)
    rows = torch.arange(len(seeds)) if owners is None else torch.tensor(owners)
    rows = rows.to(conditions.device)
    size = batch_size or pass_size(settings.dit, next(model.dit.parameters()).dtype, device)
    pieces = even_passes(len(seeds), size)
    longest = max(piece.stop - piece.start for piece in pieces)

    def velocity(piece: slice) -> Velocity:
        mine = rows[piece]
        if model.compiled_drawing:  # passes of one shape are compiled once: the last one is filled up
            mine = torch.cat([mine, mine[-1:].expand(longest - len(mine))])
        away = negative if negative is None or len(negative) == 1 else negative[mine]
        asked = velocity_under(model, conditions[mine], sampling, away)
        return asked if len(mine) == piece.stop - piece.start else filled(asked, len(mine))

    shape = settings.num_latents, settings.dit.channels
    return draw_in_passes(
        velocity, seeds, shape, sampling, settings.alpha, device, callback, on_step=on_step, batch_size=size
    )


@torch.no_grad()
def drawing_steps(
    model: UniMM, conditions: Tensor, seeds: Sequence[int], sampling: Sampling, negative: Tensor | None = None
) -> Iterator[DrawingState]:
    """Yield the latents of conditions [B Q Z] after each step; state and times are float32."""
    settings = model.config.settings
    yield from draw_states(
        velocity_under(model, conditions, sampling, negative),
        seeds,
        (settings.num_latents, settings.dit.channels),
        sampling,
        settings.alpha,
        device_of(model.dit),
    )


def velocity_under(
    model: UniMM, conditions: Tensor, sampling: Sampling, negative: Tensor | None = None
) -> Velocity:
    """Return the velocity of B pictures under conditions [B Q Z], guided as the sampling asks.

    Conditions are prepared once for all steps. Guidance leads away from `negative` ([B Q Z], or [1 Q Z]
    for all), or from the null condition: that is one vector for every token, so its modulations are computed
    once for a picture and not once for a token, which spares a third of that pass.
    """
    toward = _under(model, conditions)
    if sampling.guidance_scale == 1:
        return toward
    if negative is None:
        return guide(toward, _under_nothing(model, len(conditions)), sampling)
    return guide(toward, _under(model, negative.expand_as(conditions)), sampling)


def filled(velocity: Velocity, rows: int) -> Velocity:
    """Return the velocity of fewer pictures than `rows`, asked with the last of them repeated."""

    def ask(x: Tensor, t: Tensor) -> Tensor:
        more = rows - len(x)
        x, t = torch.cat([x, x[-1:].expand(more, -1, -1)]), torch.cat([t, t[-1:].expand(more)])
        return velocity(x, t)[: rows - more]

    return ask


def compile_drawing(model: UniMM, **options: Any) -> None:
    """Compile the DiT in place; documented at `UniMM.compile_drawing`."""
    model.dit.compile(**options)
    model.compiled_drawing = True


def _under(model: UniMM, conditions: Tensor) -> Velocity:
    """Return the velocity under conditions [B Q Z], in the dtype and on the device of the state."""
    conditions = conditions.to(device_of(model.dit))
    told = cache(lambda: model.dit.prepared(conditions))  # at the first step that asks, if one does
    return lambda x, t: model.velocity(x, t, told()).to(x)


def _under_nothing(model: UniMM, count: int) -> Velocity:
    """Return the velocity under the null condition, which the DiT puts in itself.

    A null condition that is sharded or waits elsewhere is whole only inside that call.
    """
    device, width = device_of(model.dit), model.config.settings.dit.condition_width
    blank = torch.zeros(count, 1, width, device=device)  # cast by the DiT, as conditions are
    everything = torch.ones(count, dtype=torch.bool, device=device)
    return lambda x, t: model.velocity(x, t, blank, everything).to(x)
