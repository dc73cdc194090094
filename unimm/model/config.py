"""What a model is made of: the rooms' own dataclasses, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from transformers import PretrainedConfig

from unimm.config import build
from unimm.dit.lightning import DiTConfig
from unimm.flow.prediction import PREDICTIONS
from unimm.flow.shifting import dimension_alpha
from unimm.latents.decoder import DecoderConfig
from unimm.latents.encoder import EncoderConfig
from unimm.llm.qwen import LLMConfig
from unimm.text.chat import ChatSettings


@dataclass(frozen=True)
class ModelSettings:
    """Sizes of every room and the numbers that join them."""

    encoder: EncoderConfig
    decoder: DecoderConfig
    llm: LLMConfig
    dit: DiTConfig
    num_queries: int  # Q; one query per latent token
    connector_depth: int = 2  # 1 in the published Scale-RAE weights
    projector_depth: int = 2
    prediction: str = "velocity"  # what the DiT puts out: "velocity" (the published models) or "x"
    shift_base: int = 4096  # numbers per picture at which time is not shifted; fewer shift more towards noise
    null_probability: float = 0.1  # how often training drops the conditions (classifier-free guidance)
    guidance_scale: float = 1.0  # of drawing where the caller names none; 1 is no guidance
    chat: ChatSettings = field(default_factory=ChatSettings)

    def __post_init__(self) -> None:
        tokens, channels = self.dit.grid**2, self.dit.channels
        if self.num_queries != tokens:
            raise ValueError(
                f"num_queries: expected {tokens}, one query for each token of the "
                f"{self.dit.grid} x {self.dit.grid} latent grid, got {self.num_queries}"
            )
        seen = (self.encoder.image_size // self.encoder.patch_size) ** 2
        if seen != tokens:
            raise ValueError(
                f"dit.grid: expected {seen} tokens as the encoder gives, got {self.dit.grid}^2 = {tokens}"
            )
        if self.encoder.width != channels:
            raise ValueError(
                f"dit.channels: expected the encoder's width {self.encoder.width}, got {channels}"
            )
        if self.decoder.channels != channels or self.decoder.grid != self.dit.grid:
            raise ValueError(
                f"decoder: expected channels={channels} and grid={self.dit.grid} as in dit, "
                f"got channels={self.decoder.channels} and grid={self.decoder.grid}"
            )
        if self.guidance_scale != 1 and not self.dit.guidable:
            raise ValueError(
                f"guidance_scale: expected 1 for a dit without a null condition, got {self.guidance_scale}"
            )
        if self.prediction not in PREDICTIONS:
            raise ValueError(f"prediction: expected one of {', '.join(PREDICTIONS)}, got {self.prediction!r}")
        if self.shift_base < 1:
            raise ValueError(f"shift_base: expected a positive number, got {self.shift_base}")
        if not 0 <= self.null_probability < 1:
            raise ValueError(f"null_probability: expected a number in [0, 1), got {self.null_probability}")

    @property
    def alpha(self) -> float:
        """The shift of time that belongs to the size of the latents."""
        return dimension_alpha(self.num_queries, self.dit.channels, self.shift_base)


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
