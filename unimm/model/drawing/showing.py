"""Latents as pictures, in the form that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from unimm.latents.pixels import to_images, to_reference_images
from unimm.model.placing import device_of
from unimm.request import passes

if TYPE_CHECKING:
    from unimm.model.unimm import UniMM

OutputType = Literal["pil", "pt", "np", "latent"]


@torch.no_grad()
def show(model: UniMM, latents: Tensor, output_type: OutputType, batch_size: int | None = None) -> Any:
    """Return latents [P keep N C] as pictures, flat: M PIL pictures, [M 3 Hp Wp], [M Hp Wp 3] or [M N C].

    Bytes of PIL pictures are rounded, or truncated where the model's profile says so.
    """
    flat = latents.flatten(0, 1)
    if output_type == "latent":
        return flat
    flat = flat.to(device_of(model.statistics))
    pixels = torch.cat([model.decode_latents(flat[piece]).float() for piece in passes(len(flat), batch_size)])
    if output_type == "pt":
        return pixels
    if output_type == "np":
        return pixels.permute(0, 2, 3, 1).cpu().numpy()
    return (to_reference_images if model.profile.truncates_pixels else to_images)(pixels)
