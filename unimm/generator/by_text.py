"""Pictures of prompts, without an LLM: an MM-DiT told by CLIP and T5 (Esser et al. 2024)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache

import torch
from torch import Tensor

from unimm.dit.mmdit import TextConditions
from unimm.flow.sampling import Callback
from unimm.flow.solver import Velocity
from unimm.generator.base import GeneratedPictures, Generator, Size
from unimm.generator.settings import UNSET, GeneratorSettings, Unset
from unimm.request import check_output_type, check_size, passes, positive, prompt_list, seed_rows
from unimm.text.sd3 import SD3Text, Tokens


class TextGenerator(Generator):
    """Draws prompts, told by whichever of CLIP-L, bigG and T5 it has."""

    model_type = "unimm_text_generator"

    def __init__(self, settings: GeneratorSettings):
        if settings.text is None or not hasattr(settings.dit, "sequence_width"):
            raise ValueError(
                "text: expected text encoders and a body that reads them (kind 'mmdit') for a generator by "
                f"text, got kind {settings.body['kind']!r} and text {'set' if settings.text else 'null'}"
            )
        super().__init__(settings)
        self.text = SD3Text(settings.text)

    @torch.no_grad()
    def generate(
        self,
        prompt: str | Sequence[str],
        *,
        negative_prompt: str | None | Unset = UNSET,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        guidance_interval: tuple[float, float] | None = None,
        num_images_per_prompt: int = 1,
        seed: int | Sequence[int] | None = None,
        solver: str | None = None,
        grid: str | None = None,
        without: Collection[str] = (),
        size: Size = None,
        guide: TextGenerator | None = None,
        output_type: str = "pil",
        callback: Callback | None = None,
    ) -> GeneratedPictures:
        """Draw pictures of a prompt, or of each of a list; what is None is as the generator's settings say.

        Args:
            prompt: what to draw.
            negative_prompt: what guidance leads away from; "" is the empty text that published pipelines
                take; one for all prompts. None, whatever the settings say, is no text at all, every encoder
                dropped, as in training; so it is where nobody names one.
            without: text encoders not to run, such as "t5", most of the text's work; their tokenizers are not
                needed either. Settings without that tower save its memory, too.
            size: (rows, columns) of latents, for pictures that are not square; the body's position table and
                the latent space say which can be.
            guide: a weaker generator of the same latents, to be led away from under the same prompt;
                it needs a guidance_scale other than 1.
            num_inference_steps, guidance_scale, guidance_interval, seed, solver, grid, output_type, callback:
                as in `ClassGenerator.generate`.
            num_images_per_prompt: pictures for each prompt.

        Returns:
            The pictures; `cut` names every prompt longer than an encoder that ran reads.

        Raises:
            ValueError: an empty prompt, an unknown encoder, a guide of other latents or at scale 1, or an
                option out of its range.
        """
        check_output_type(output_type)
        if size is not None:
            check_size(size)
        prompts, n = prompt_list(prompt), positive("num_images_per_prompt", num_images_per_prompt)
        sampling = self.settings.sampling.asked(
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            guidance_interval=guidance_interval,
            solver=solver,
            grid=grid,
            negative_prompt=negative_prompt,
        )
        if guide is not None:
            self._check_guide(guide, sampling)
        seeds = [s for row in seed_rows(seed, len(prompts), n) for s in row]
        told = repeated_conditions(self.conditions_of(prompts, without), n)
        theirs = None if guide is None else repeated_conditions(guide.conditions_of(prompts, without), n)
        nothing = self._away(sampling.negative_prompt, without)

        def pair(piece: slice) -> tuple[Velocity, Velocity]:
            conditions = rows_of(told, piece)
            if guide is not None:
                return self._of(conditions, size), guide._of(rows_of(theirs, piece), size)
            away = repeated_conditions(nothing, len(conditions.pooled))
            return self._of(conditions, size), self._of(away, size)

        latents = self._draw(pair, seeds, sampling, guide, callback, size)
        cut = tuple(self.text.tokenize(prompts, without).cut_in_words())
        return GeneratedPictures(self._show(latents, output_type, size), latents, seeds, cut)

    def conditions_of(self, prompts: Sequence[str], without: Collection[str] = ()) -> TextConditions:
        """Return what the body is told of prompts; an empty prompt is allowed."""
        pieces = [self.text.encode(prompts[piece], without, self.device) for piece in passes(len(prompts))]
        return TextConditions(*(torch.cat(parts) for parts in zip(*pieces, strict=True)))

    def told(self, tokens: Tokens, dropped: Tensor | None = None) -> TextConditions:
        """Return what the body is told of tokenised prompts, encoders dropped where dropped [B 3] is true."""
        return TextConditions(*self.text(tokens, dropped))

    def _away(self, negative_prompt: str | None, without: Collection[str]) -> TextConditions:
        if negative_prompt is None:
            return TextConditions(*self.text.nothing(1))
        return self.conditions_of([negative_prompt], without)

    def _of(self, conditions: TextConditions, size: Size = None) -> Velocity:
        """Return the velocity under conditions of B rows."""
        told = cache(lambda: self.dit.prepared(conditions, size=size))  # at the first step, if there is one
        return lambda x, t: self.velocity(x, t, told(), size=size)


def rows_of(conditions: TextConditions, piece: slice) -> TextConditions:
    """Return some rows of conditions."""
    return TextConditions(conditions.sequence[piece], conditions.pooled[piece])


def repeated_conditions(conditions: TextConditions, n: int) -> TextConditions:
    """Return each row n times, one after the other."""
    parts = conditions.sequence, conditions.pooled
    return TextConditions(*(part.repeat_interleave(n, dim=0) for part in parts))
