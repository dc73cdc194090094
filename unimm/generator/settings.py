"""What a generator is made of: its parts by kind, the flow it was trained on, and how it draws by default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from typing import Any

from unimm.config import build
from unimm.dit.bodies import BODIES
from unimm.flow.densities import Density
from unimm.flow.sampling import Sampling
from unimm.flow.shifting import dimension_alpha
from unimm.flow.weights import Weight
from unimm.generator.outputs import VELOCITIES
from unimm.latents.autoencoder import LATENT_SPACES
from unimm.tables import pick
from unimm.text.sd3 import SD3TextConfig


class Unset(Enum):
    """What a caller says who says nothing, where None says something."""

    UNSET = "unset"


UNSET = Unset.UNSET
NULLABLE = ("guidance_channels", "negative_prompt")
"""What a caller may set to None: all channels guided, and no text at all to lead away from."""


@dataclass(frozen=True)
class FlowSettings:
    """The flow a generator is trained on; the defaults are RAE's, less its cut at t = 0.999."""

    prediction: str = "velocity"  # what the body puts out, a row of VELOCITIES
    density: Density = field(default_factory=Density)  # of training times, before the shift
    alpha: float | None = None  # shift of time in training; null is sqrt(N C / shift_base); 1 shifts nothing
    shift_base: int = 4096  # numbers per picture at which time is not shifted (RAE)
    weight: Weight = field(default_factory=Weight)  # of each sample's error
    direction_weight: float = 0.0  # of 1 - cos(velocity, target); 1 in LightningDiT

    def __post_init__(self) -> None:
        pick("prediction", self.prediction, VELOCITIES)
        if self.alpha is not None and not self.alpha > 0:
            raise ValueError(f"alpha: expected a positive shift or null, got {self.alpha}")
        if self.shift_base < 1:
            raise ValueError(f"shift_base: expected a positive number, got {self.shift_base}")
        if self.direction_weight < 0:
            raise ValueError(f"direction_weight: expected 0 or more, got {self.direction_weight}")


@dataclass(frozen=True)
class SamplingSettings(Sampling):
    """How pictures are drawn where the caller says nothing else."""

    negative_prompt: str | None = None  # null: no text at all, as in training; "" in the published pipelines

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.negative_prompt, str | None):
            raise ValueError(
                f"negative_prompt: expected one text for all prompts, or null, got {self.negative_prompt!r}"
            )

    def asked(self, **changes: Any) -> SamplingSettings:
        """Return these settings with what the caller named.

        UNSET leaves a setting as it is, and so does None, but for NULLABLE.
        """
        named = {
            name: value
            for name, value in changes.items()
            if value is not UNSET and (value is not None or name in NULLABLE)
        }
        return replace(self, **named)


@dataclass(frozen=True)
class GeneratorSettings:
    """The parts of a generator. `body` and `latents` name their kind and hold the sizes of that kind.

    Such as `body: {kind: ddt, width: 384, ...}` and `latents: {kind: rae, encoder: {...}, decoder: {...}}`.
    """

    body: dict[str, Any]  # kind: a row of BODIES
    latents: dict[str, Any]  # kind: a row of LATENT_SPACES
    text: SD3TextConfig | None = None  # for bodies that read text
    class_names: tuple[str, ...] = ()  # for bodies with classes: names that callers may use for the numbers
    flow: FlowSettings = field(default_factory=FlowSettings)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)

    def __post_init__(self) -> None:
        dit, space = self.dit, self.space
        if (dit.grid, dit.channels) != (space.grid, space.channels):
            raise ValueError(
                f"body: expected grid={space.grid} and channels={space.channels} as the latents have, "
                f"got grid={dit.grid} and channels={dit.channels}"
            )
        self._check_text(dit)
        classes = getattr(dit, "num_classes", None)
        if self.class_names and len(self.class_names) != classes:
            raise ValueError(
                f"class_names: expected {classes or 'none'}, one for each class, got {len(self.class_names)}"
            )

    @cached_property
    def dit(self) -> Any:
        """The body's sizes."""
        return sizes_of("body", self.body, BODIES)

    @cached_property
    def space(self) -> Any:
        """The latent space's sizes."""
        return sizes_of("latents", self.latents, LATENT_SPACES)

    @property
    def alpha(self) -> float:
        """The shift of time in training."""
        if self.flow.alpha is not None:
            return self.flow.alpha
        return dimension_alpha(self.dit.grid**2, self.dit.channels, self.flow.shift_base)

    def _check_text(self, dit: Any) -> None:
        if self.text is None:
            return
        for name, text in (("sequence_width", self.text.width), ("pooled_width", self.text.pooled_width)):
            if getattr(dit, name, text) != text:
                raise ValueError(f"body.{name}: expected the text's {text}, got {getattr(dit, name)}")


def sizes_of(name: str, values: Mapping[str, Any], table: Mapping[str, tuple[type, type]]) -> Any:
    """Return the dataclass that a mapping with a `kind` fills.

    Raises:
        ValueError: no kind or an unknown one, or values that do not fit it.
    """
    if "kind" not in values:
        raise ValueError(f"{name}.kind: expected one of {', '.join(table)}, found none")
    config_class = pick(f"{name}.kind", values["kind"], table)[0]
    return build(config_class, {key: value for key, value in values.items() if key != "kind"}, name)
