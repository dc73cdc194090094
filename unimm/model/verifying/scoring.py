"""Pictures held against prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from unimm.latents.pixels import to_pixels
from unimm.model.inputs import Request, image_list, pictures_of, seen_latents
from unimm.model.verifying.calibrated import calibrated_names, probabilities_of
from unimm.model.verifying.judging import Verifier, judging
from unimm.parts import Image
from unimm.request import prompt_list

if TYPE_CHECKING:
    from unimm.model.unimm import UniMM


class Verdicts(NamedTuple):
    """What a verifier thinks of M pictures."""

    scores: list[float]  # larger is better
    probabilities: list[float]  # in [0, 1], that the picture shows its prompt


@torch.no_grad()
def verify(
    model: UniMM,
    images: Any,
    prompt: str | Sequence[str],
    verifier: Verifier = "answer_logits",
    probabilities: bool = False,
    context: Any = None,
) -> list[float] | Verdicts:
    """Score pictures or latents against prompts; the arguments are documented at `UniMM.verify`."""
    parts, prompts = image_list(images), prompt_list(prompt)
    if len(prompts) not in (1, len(parts)):
        raise ValueError(
            f"prompt: expected one, or one for each of {len(parts)} pictures, got {len(prompts)}"
        )
    pictures = pictures_of(model, context, None if isinstance(prompt, str) else len(prompts), "context")
    if probabilities and any(pictures):
        raise ValueError("probabilities: nothing is calibrated for prompts with pictures; take the scores")
    requests = [Request(*pair) for pair in zip(prompts, pictures, strict=True)]
    distinct = {request.key: request for request in requests}
    places = {key: place for place, key in enumerate(distinct)}
    owners = [places[request.key] for request in requests] * (len(parts) // len(prompts))
    judge = judging(model, list(distinct.values()), verifier)
    latents = seen_latents(model, parts) if judge.sees else _drawn_latents(model, parts)
    scores = judge(latents, owners).tolist()
    if not probabilities:
        return scores
    found = probabilities_of(model, verifier, scores)
    if found is None:
        raise ValueError(
            f"probabilities: expected a verifier that this model is calibrated for "
            f"({calibrated_names(model)}), got {verifier!r}; "
            "`unimm eval calibrate` measures one"
        )
    return Verdicts(scores, found)


def _drawn_latents(model: UniMM, parts: Sequence[Image]) -> Tensor:
    """Return latents [M N C] as the model would draw these pictures."""
    settings = model.config.settings
    if settings.sees_drawn:
        return seen_latents(model, parts)

    def one(part: Image) -> Tensor:
        if part.latents is not None:
            return part.latents
        pixels = to_pixels([part.image], settings.target_size).to(model.device, model.dtype)
        return model.encode_target(pixels)[0]

    return torch.stack([one(part) for part in parts])
