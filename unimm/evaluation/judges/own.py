"""A UniMM as the judge of pictures, its own or others'.

What a model thinks of its own pictures is no measure of them; the card shows whose judgement it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL.Image import Image

from unimm.evaluation.judges.loading import batches, expect_pairs, name_of

if TYPE_CHECKING:
    from unimm.model import UniMM


class OwnVQA:
    """A `YesNoVQA` and `Judge` on `UniMM.answer`."""

    def __init__(
        self,
        model: UniMM | str | Path,
        *,
        name: str | None = None,
        batch_size: int = 64,
        max_new_tokens: int = 256,
        device: str = "cpu",
    ) -> None:
        """Take a model, or load one from its name, folder or hub id.

        Args:
            model: the model or where it is.
            name: in the keys of scores; "unimm-" and the model's name if None.
            batch_size: pictures at a time.
            max_new_tokens: longest reply of `judge`.
            device: of a model that is loaded; one that is given stays where it is.

        Raises:
            ValueError: a model that is given must be named.
        """
        loaded = isinstance(model, str | Path)
        if not loaded and name is None:
            raise ValueError("name: expected one for a model that is given, got none")
        self.name = name or f"unimm-{name_of(model)}"
        self.model = load_own(model, device) if loaded else model
        self.batch_size, self.max_new_tokens = batch_size, max_new_tokens

    def ask(self, images: Sequence[Image], questions: Sequence[str]) -> list[str]:
        """Return the likelier of "yes" and "no": the question is put as it is, and no word goes astray."""
        expect_pairs(images, questions, "questions")
        return self._answers(images, questions, choices=("yes", "no"))

    def judge(self, images: Sequence[Image], requests: Sequence[str]) -> list[str]:
        """Return the reply to each picture's request."""
        expect_pairs(images, requests, "requests")
        return self._answers(images, requests, max_new_tokens=self.max_new_tokens)

    def _answers(self, images: Sequence[Image], texts: Sequence[str], **options) -> list[str]:
        said: list[str] = []
        for batch in batches(list(zip(images, texts, strict=True)), self.batch_size):
            pictures, asked = map(list, zip(*batch, strict=True))
            said += self.model.answer(pictures, asked, **options)
        return said


def load_own(source: str | Path, device: str) -> UniMM:
    """Return a UniMM from its name, folder or hub id, in eval mode."""
    from unimm.model import UniMM

    return UniMM.from_pretrained(str(source)).eval().to(device)
