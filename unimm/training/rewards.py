"""Rewards: whoever says how good a picture of a prompt is.

A reward is a function `(drawn, prompts, metadata) -> scores`, larger is better: `drawn` are M latents
[M N C], or M pictures for a function that `on_images` marks; `metadata` holds what is known of each prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from unimm.latents.pixels import to_images
from unimm.model.unimm import UniMM
from unimm.model.verifying import VERIFIERS
from unimm.world.reader import read
from unimm.world.spec import Spec, found, holds


class Reward(Protocol):
    """A judge of M drawings."""

    def __call__(
        self, drawn: Any, prompts: Sequence[str], metadata: Sequence[Mapping[str, Any]]
    ) -> Sequence[float]:
        """Return M numbers."""


def on_images(reward: Reward) -> Reward:
    """Mark a function as one that judges M PIL pictures; without this it is given latents."""
    reward.takes_images = True
    return reward


def own_verifier(model: UniMM, name: str) -> Reward:
    """Return the model as its own judge, by one of its verifiers; the model is frozen."""

    def score(drawn: Tensor, prompts: Sequence[str], metadata: Sequence[Mapping[str, Any]]) -> list[float]:
        return model.verify(drawn, list(prompts), name)

    return score


@on_images
def scene_reader(
    images: Sequence, prompts: Sequence[str], metadata: Sequence[Mapping[str, Any]]
) -> list[float]:
    """Return 1 for pictures of the world that obey their prompt, and else half the share of what is there."""
    return [_obeys(image, _spec(facts)) for image, facts in zip(images, metadata, strict=True)]


REWARDS: dict[str, Callable[[UniMM], Reward]] = {
    "reader": lambda model: scene_reader,
    **{name: lambda model, name=name: own_verifier(model, name) for name in VERIFIERS},
}
"""By name: what makes a reward, given the model as it was before training."""


def scores_of(
    reward: Reward,
    model: UniMM,
    latents: Tensor,
    prompts: Sequence[str],
    metadata: Sequence[Mapping[str, Any]],
) -> Tensor:
    """Return the scores of M drawings, float32 [M]; they are decoded where the reward wants pictures.

    Raises:
        ValueError: another number of scores, or one that is no finite number; the first such prompt is named.
    """
    wants_images = getattr(reward, "takes_images", False)
    drawn = to_images(model.decode_latents(latents)) if wants_images else latents
    scores = torch.as_tensor(reward(drawn, prompts, metadata), dtype=torch.float32).detach().cpu()
    name = getattr(reward, "__name__", type(reward).__name__)
    if scores.shape != (len(prompts),):
        raise ValueError(
            f"reward {name}: expected {len(prompts)} scores, one per drawing, got shape {list(scores.shape)}"
        )
    odd = torch.nonzero(~torch.isfinite(scores)).flatten().tolist()
    if odd:
        raise ValueError(
            f"reward {name}: expected finite scores, got {float(scores[odd[0]])} for {prompts[odd[0]]!r} and "
            f"{len(odd) - 1} more of {len(prompts)}"
        )
    return scores.to(latents.device)


def _spec(facts: Mapping[str, Any]) -> Spec:
    spec = facts.get("spec")
    if not isinstance(spec, Spec):
        raise ValueError(
            "reward scene_reader: expected prompts of the built-in world, whose metadata has a spec, got "
            f"{sorted(facts)}; use another reward for other prompts"
        )
    return spec


def _obeys(image: Any, spec: Spec) -> float:
    scene = read(image)
    if holds(spec, scene):
        return 1.0
    there = [min(1.0, len(found(mention, scene)) / mention.count) for mention in spec.mentions]
    return 0.5 * sum(there) / max(1, len(there))
