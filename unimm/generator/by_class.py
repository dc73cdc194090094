"""Pictures by class, without an LLM: RAE's DiT^DH, LightningDiT, SiT and their kin over any latent space."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from unimm.flow.sampling import Callback
from unimm.flow.solver import Velocity
from unimm.generator.base import GeneratedPictures, Generator
from unimm.generator.settings import UNSET, GeneratorSettings, Unset
from unimm.request import check_output_type, positive, seed_rows
from unimm.tables import suggestion

Labels = int | str | Sequence[int | str] | Tensor


class ClassGenerator(Generator):
    """Draws a class: a number, or its name where the settings name the classes."""

    model_type = "unimm_class_generator"

    def __init__(self, settings: GeneratorSettings):
        if getattr(settings.dit, "num_classes", None) is None:
            raise ValueError(
                f"body.num_classes: expected a number for a generator by class, got none "
                f"(kind {settings.body['kind']!r})"
            )
        super().__init__(settings)

    @torch.no_grad()
    def generate(
        self,
        labels: Labels,
        *,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        guidance_interval: tuple[float, float] | None = None,
        guidance_channels: int | None | Unset = UNSET,
        num_images_per_label: int = 1,
        seed: int | Sequence[int] | None = None,
        solver: str | None = None,
        grid: str | None = None,
        guide: ClassGenerator | None = None,
        output_type: str = "pil",
        callback: Callback | None = None,
    ) -> GeneratedPictures:
        """Draw pictures of a class, or of each of a list; what is None is as the generator's settings say.

        Args:
            labels: numbers or names.
            num_inference_steps: steps from noise to data.
            guidance_scale: 1 is no guidance; any other number costs two evaluations per step.
            guidance_interval: (low, high), the times in which guidance acts; 0 is data, 1 is noise.
            guidance_channels: guide the first channels alone; None guides all, whatever the settings say.
            num_images_per_label: pictures for each label.
            seed: of the first picture; the others take the numbers after it. A list gives each label its own
                first.
            solver: a row of `SAMPLERS`; grid: a row of `flow.GRIDS`.
            guide: a weaker generator of the same latents, to be led away from (AutoGuidance, Karras et al.
                2024) instead of from the null label; it needs a guidance_scale other than 1.
            output_type: "pil", "pt" ([M 3 Hp Wp] in [0, 1]), "np" ([M Hp Wp 3]) or "latent".
            callback: called with (step, total) after every step.

        Raises:
            ValueError: a label that is no class, a guide of other latents or at scale 1, or an option out
                of its range.
        """
        check_output_type(output_type)
        n = positive("num_images_per_label", num_images_per_label)
        sampling = self.settings.sampling.asked(
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            guidance_interval=guidance_interval,
            guidance_channels=guidance_channels,
            solver=solver,
            grid=grid,
        )
        if guide is not None:
            self._check_guide(guide, sampling)
        numbers = self.numbers_of(labels)
        seeds = [s for row in seed_rows(seed, len(numbers), n, "labels") for s in row]
        each = numbers.repeat_interleave(n).to(self.device)
        theirs = None if guide is None else guide.numbers_of(labels).repeat_interleave(n).to(guide.device)

        def pair(piece: slice) -> tuple[Velocity, Velocity]:
            away = self._of(each[piece], null=True) if guide is None else guide._of(theirs[piece])
            return self._of(each[piece]), away

        latents = self._draw(pair, seeds, sampling, guide, callback)
        return GeneratedPictures(self._show(latents, output_type), latents, seeds)

    def numbers_of(self, labels: Labels) -> Tensor:
        """Return labels as numbers [P], int64.

        Raises:
            ValueError: none, a name or number that is no class, or something else.
        """
        if isinstance(labels, Tensor):
            labels = labels.reshape(-1).tolist()
        asked = [labels] if isinstance(labels, Integral | str) else list(labels)
        if not asked:
            raise ValueError("labels: expected at least one class, got none")
        return torch.tensor([self._number(label) for label in asked], dtype=torch.int64)

    def _number(self, label: Any) -> int:
        names, count = self.settings.class_names, self.settings.dit.num_classes
        if isinstance(label, str):
            if label not in names:
                hint = suggestion(label, names) or f"; this generator names {len(names)} classes"
                raise ValueError(f"labels: unknown class {label!r}{hint}")
            return names.index(label)
        if isinstance(label, bool) or not isinstance(label, Integral) or not 0 <= label < count:
            raise ValueError(f"labels: expected whole numbers from 0 to {count - 1}, got {label!r}")
        return int(label)

    def _of(self, labels: Tensor, null: bool = False) -> Velocity:
        """Return the velocity under labels [B], or under the null label."""
        dropped = torch.ones_like(labels, dtype=torch.bool) if null else None
        told = cache(lambda: self.dit.prepared(labels, dropped))  # at the first step, if there is one
        return lambda x, t: self.velocity(x, t, told())
