"""What a model is made of: the rooms' own dataclasses, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from transformers import PretrainedConfig

from unimm.config import build, to_dict
from unimm.dit.bodies import BODIES
from unimm.dit.config import DiTConfig
from unimm.flow.prediction import PREDICTIONS
from unimm.flow.shifting import dimension_alpha
from unimm.latents.autoencoder import LATENT_SPACES
from unimm.latents.decoder import DecoderConfig
from unimm.latents.encoder import EncoderConfig
from unimm.llm.qwen import LLMConfig
from unimm.tables import pick
from unimm.text.chat import ChatSettings

DRAWING_BODIES = {kind: row for kind, row in BODIES.items() if issubclass(row[0], DiTConfig)}
"""Bodies whose conditions can be one vector per latent token; mmdit reads a sequence of text instead."""


@dataclass(frozen=True)
class ModelSettings:
    """Sizes of every room and the numbers that join them.

    What is seen and what is drawn are the same latents, those of encoder and decoder (a RAE), unless `drawn`
    names another space: then the encoder's latents are seen and the other's are drawn.
    """

    encoder: EncoderConfig
    llm: LLMConfig
    dit: Any  # a config of the body, or its values; lightning's is DiTConfig
    num_queries: int  # Q; one query per token of the DiT
    decoder: DecoderConfig | None = None  # of the RAE; null where the drawn latents have their own
    body: str = "lightning"  # which network draws, a row of DRAWING_BODIES
    drawn: dict[str, Any] | None = None  # kind: a row of LATENT_SPACES, and its sizes; null is the RAE
    sees_raw: bool = False  # whether a RAE's latents are seen before the statistics and drawn after
    connector_depth: int = 2  # 1 in the published Scale-RAE weights
    projector_depth: int = 2
    prediction: str = "velocity"  # what the DiT puts out: "velocity" (the published models) or "x"
    shift_base: int = 4096  # numbers per picture at which time is not shifted; fewer shift more towards noise
    null_probability: float = 0.1  # how often training drops the conditions (classifier-free guidance)
    guidance_scale: float = 1.0  # of drawing where the caller names none; 1 is no guidance
    chat: ChatSettings = field(default_factory=ChatSettings)

    def __post_init__(self) -> None:
        self._build_dit()
        self._check_tokens()
        self._check_spaces()
        if self.guidance_scale != 1 and not self.dit.guidable:
            raise ValueError(
                f"guidance_scale: expected 1 for a dit without a null condition, got {self.guidance_scale}"
            )
        pick("prediction", self.prediction, PREDICTIONS)
        if self.shift_base < 1:
            raise ValueError(f"shift_base: expected a positive number, got {self.shift_base}")
        if not 0 <= self.null_probability < 1:
            raise ValueError(f"null_probability: expected a number in [0, 1), got {self.null_probability}")

    @cached_property
    def space(self) -> Any:
        """The sizes of the drawn latents' own space; None where they are the RAE's."""
        if self.drawn is None:
            return None
        sizes = {name: value for name, value in self.drawn.items() if name != "kind"}
        return build(pick("drawn.kind", self.drawn.get("kind"), LATENT_SPACES)[0], sizes, "drawn")

    @property
    def sees_drawn(self) -> bool:
        """Whether the latents that are seen are the very latents that are drawn."""
        return self.drawn is None and not self.sees_raw

    @property
    def num_latents(self) -> int:
        """N, tokens of the drawn latents; more than the queries where the DiT gathers patches."""
        return self.dit.grid**2

    @property
    def image_size(self) -> int:
        """Pixels per side of the pictures that are drawn."""
        return (self.decoder if self.space is None else self.space).image_size

    @property
    def target_size(self) -> int:
        """Pixels per side of the pictures whose latents are drawn in training."""
        return (self.encoder if self.space is None else self.space).image_size

    @property
    def alpha(self) -> float:
        """The shift of time that belongs to the size of the drawn latents."""
        return dimension_alpha(self.num_latents, self.dit.channels, self.shift_base)

    def _build_dit(self) -> None:
        config_class = pick("body", self.body, DRAWING_BODIES)[0]
        if isinstance(self.dit, Mapping):
            object.__setattr__(self, "dit", build(config_class, self.dit, "dit"))
        if type(self.dit) is not config_class:
            raise ValueError(
                f"dit: expected a {config_class.__name__} for the body {self.body!r}, "
                f"got a {type(self.dit).__name__}; set body to its kind"
            )
        if self.dit.num_classes is not None:
            raise ValueError(
                f"dit.num_classes: expected null, as conditions are vectors, got {self.dit.num_classes}"
            )

    def _check_tokens(self) -> None:
        tokens, side = self.dit.side**2, self.dit.side
        if self.num_queries != tokens:
            raise ValueError(
                f"num_queries: expected {tokens}, one query for each token of the "
                f"{side} x {side} latent grid, got {self.num_queries}"
            )
        seen = self.encoder.num_tokens
        if seen != tokens:
            raise ValueError(
                f"dit.grid: expected {seen} tokens as the encoder gives, got {side}^2 = {tokens}"
            )

    def _check_spaces(self) -> None:
        ours = {"channels": self.dit.channels, "grid": self.dit.grid}
        if self.space is not None:
            object.__setattr__(self, "drawn", {"kind": self.drawn["kind"], **to_dict(self.space)})
            _expect_sizes("dit", ours, "the drawn latents", self.space)
            if self.sees_raw:
                raise ValueError("sees_raw: expected false with drawn latents of their own, got true")
            if self.decoder is not None:
                raise ValueError("decoder: expected null with drawn latents of their own, got one")
            return
        if self.encoder.width != self.dit.channels:
            raise ValueError(
                f"dit.channels: expected the encoder's width {self.encoder.width}, got {self.dit.channels}"
            )
        if self.decoder is None:
            raise ValueError(
                "decoder: expected the sizes of one that shows the encoder's latents, got none; "
                "or say under `drawn` which other latents are drawn"
            )
        _expect_sizes("decoder", {name: getattr(self.decoder, name) for name in ours}, "dit", self.dit)


def _expect_sizes(name: str, found: Mapping[str, int], of: str, config: Any) -> None:
    """Refuse channels and grid that are not those of a config."""
    if any(getattr(config, key) != value for key, value in found.items()):
        raise ValueError(
            f"{name}: expected channels={config.channels} and grid={config.grid} as in {of}, "
            f"got channels={found['channels']} and grid={found['grid']}"
        )


class UniMMConfig(PretrainedConfig):
    """`ModelSettings` in the form transformers saves: one JSON file, the settings under their own key."""

    model_type = "unimm"
    has_no_defaults_at_init = True

    def __init__(self, settings: ModelSettings | Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        if settings is None:
            raise ValueError("config: expected the model's settings, got none; is this a unimm config.json?")
        self.settings = settings if isinstance(settings, ModelSettings) else build(ModelSettings, settings)
        kwargs.setdefault("tie_word_embeddings", self.settings.llm.tied_embeddings)
        super().__init__(**kwargs)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; `from_dict` reads them back to equal settings."""
        values = super().to_dict()
        values["settings"] = asdict(self.settings)
        return values
