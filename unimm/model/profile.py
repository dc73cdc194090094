"""Two ways to run published checkpoints: correct, or with every quirk that decides a published number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from unimm.tables import pick


@dataclass(frozen=True)
class Profile:
    """Named settings, each a quirk of the published Scale-RAE code (arXiv 2601.16208) or its absence."""

    sampler: Literal["clean", "scale_rae"]
    """The published 50 steps are 49 evaluations that begin at 0.9976, end at 0.0084 and go one step back."""
    guides: bool
    """Whether guidance acts. The published test of its interval is inverted: any scale draws as 1 does."""
    confidence_positions: Literal["standard", "reference"]
    """Where prompt confidence looks: at the states that predict the prompt, or one position later."""
    pools_answer_words: bool
    """Whether any token of any spelling of "yes" means yes (published), or only the one that begins it."""
    rounds_embeddings: bool
    """Whether what enters the LLM and the vision tower is rounded to bfloat16 on its way."""
    labels_marks: bool
    """Whether newlines and turn marks of all speakers are trained on, as the published label mask has it."""
    truncates_pixels: bool
    """Whether pixels become bytes by truncation; else by rounding."""


PROFILES = {
    "standard": Profile("clean", True, "standard", False, False, False, False),
    "reference": Profile("scale_rae", False, "reference", True, True, True, True),
}


def profile_named(name: str) -> Profile:
    """Return a profile by its name in PROFILES.

    Raises:
        ValueError: an unknown name; the message suggests the nearest one.
    """
    return pick("profile", name, PROFILES)


def as_profile(value: Profile | str) -> Profile:
    """Return a profile as it is, or by its name.

    Raises:
        ValueError: an unknown name, or neither a name nor a profile.
    """
    return value if isinstance(value, Profile) else profile_named(value)
