"""Who may judge drawings: the model itself in one of several ways, or a function of the caller's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unimm import request
from unimm.model.inputs import Request
from unimm.model.memory import spare_bytes
from unimm.model.placing import device_of
from unimm.model.verifying.asking import Look, by_answer_logits, by_p_yes
from unimm.model.verifying.reading import by_image_confidence, by_prompt_confidence, by_prompt_likelihood
from unimm.request import passes
from unimm.tables import suggestion

if TYPE_CHECKING:
    from unimm.model.unimm import UniMM

VERIFIERS: dict[str, Callable[[UniMM, Sequence[Request], int], tuple[Look, int]]] = {
    "answer_logits": by_answer_logits,
    "prompt_confidence": by_prompt_confidence,
    "p_yes": by_p_yes,
    "prompt_likelihood": by_prompt_likelihood,
    "image_confidence": by_image_confidence,
}
"""The model's own verdicts: given the requests and the bytes of a pass, each returns how it looks at
candidates and how many of them at a time. None makes a pixel."""


@dataclass(frozen=True)
class OnPixels:
    """A scorer that wants pictures."""

    score: Callable[[list, list[str]], Any]


def on_pixels(score: Callable[[list, list[str]], Any]) -> OnPixels:
    """Return a verifier that decodes every candidate for `score(images, prompts) -> scores [M]`.

    For scorers from outside such as ImageReward; images are M PIL pictures, prompts M texts. It costs what
    verifying in latent space saves.
    """
    return OnPixels(score)


Verifier = str | Callable[[Tensor, Sequence[str]], Any] | OnPixels
"""A row of VERIFIERS, `f(latents [M N C], prompts) -> scores [M]`, or what `on_pixels` returns."""


@dataclass(frozen=True)
class Judge:
    """Scores candidates of P prompts, in passes that fit memory."""

    look: Look
    together: int  # candidates in one pass
    sees: bool  # whether it wants latents as they are seen, rather than as they were drawn

    @torch.no_grad()
    def __call__(self, latents: Tensor, owners: Sequence[int]) -> Tensor:
        """Return scores, float64 [M] on the CPU, larger is better, NaN where there is none.

        Args:
            latents: [M N C].
            owners: the prompt of each, an index.

        Raises:
            ValueError: a function of the caller's gave another number of scores.
        """
        pieces = list(passes(len(owners), self.together))
        return torch.cat([_scores(self.look(latents[p], owners[p]), len(owners[p])) for p in pieces])


def judging(
    model: UniMM, asked: Sequence[str | Request], verifier: Verifier, batch_size: int | None = None
) -> Judge:
    """Return the judge of candidates of these prompts; what they share is read once, as long as it lives.

    Args:
        model: who draws.
        asked: P prompts, or requests: the pictures before a prompt are in view when the model itself judges.
        verifier: see `Verifier`.
        batch_size: candidates in one pass; None is as many as fit.

    Raises:
        ValueError: an unknown name, with a suggestion, or a prompt that does not fit the context.
    """
    requests = [Request(one) if isinstance(one, str) else one for one in asked]
    prompts = [request.prompt for request in requests]
    if isinstance(verifier, OnPixels):
        return Judge(_pixel_look(model, prompts, verifier), batch_size or request.PASS, sees=False)
    if callable(verifier):
        look = lambda latents, owners: verifier(latents, [prompts[owner] for owner in owners])  # noqa: E731
        return Judge(look, batch_size or request.PASS, sees=False)
    if verifier not in tuple(VERIFIERS):  # a tuple compares: what cannot be hashed is no name either
        raise ValueError(
            f"verifier: expected a function or one of {', '.join(VERIFIERS)}, "
            f"got {verifier!r}{suggestion(verifier, VERIFIERS)}"
        )
    look, together = VERIFIERS[verifier](model, requests, spare_bytes(device_of(model.llm)))
    return Judge(look, batch_size or together, sees=True)


def _pixel_look(model: UniMM, prompts: Sequence[str], verifier: OnPixels) -> Look:
    from unimm.model.drawing import show  # drawing imports this room, as it lets drawings be judged

    def look(latents: Tensor, owners: Sequence[int]) -> Any:
        return verifier.score(show(model, latents[:, None], "pil"), [prompts[owner] for owner in owners])

    return look


def _scores(found: Any, count: int) -> Tensor:
    expected = f"verifier: expected one score for each of {count} candidates"
    try:
        scores = torch.as_tensor(found).detach().double().cpu()
    except (TypeError, ValueError, RuntimeError):  # no numbers
        raise ValueError(f"{expected}, got {found!r:.80}") from None
    if scores.shape != (count,):
        raise ValueError(f"{expected}, got {list(scores.shape)}")
    return scores
