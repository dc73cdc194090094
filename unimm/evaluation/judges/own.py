"""A UniMM as the judge of pictures, its own or others'.

What a model thinks of its own pictures is no measure of them; the card shows whose judgement it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL.Image import Image

from unimm.evaluation.judges.loading import batches, expect_pairs, name_of
from unimm.loaded import quiet
from unimm.model.inputs import batch_of, image_list, rows_of, tokenizer_of, user, with_latents
from unimm.text.tokenizer import encode

if TYPE_CHECKING:
    from unimm.model import UniMM


class OwnVQA:
    """A `YesNoVQA`, `SoftVQA` and `Judge` on what a UniMM answers."""

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

    def mass(
        self, images: Sequence[Image], questions: Sequence[str], spellings: Sequence[Sequence[str]]
    ) -> list[float]:
        """Return the probability that the answer's first token is the first one of any spelling.

        Spellings that begin with the same token count once, as in `LocalVLM.mass`.
        """
        expect_pairs(images, questions, "questions")
        expect_pairs(images, spellings, "spellings")
        found: list[float] = []
        for batch in batches(list(zip(images, questions, spellings, strict=True)), self.batch_size):
            pictures, texts, accepted = zip(*batch, strict=True)
            rows = zip(self._first_words(pictures, texts), accepted, strict=True)
            found += [float(row[self._first_tokens(words)].sum()) for row, words in rows]
        return found

    @torch.no_grad()
    def _first_words(self, images: Sequence[Image], texts: Sequence[str]) -> torch.Tensor:
        """Return the probabilities of an answer's first token, [B V]."""
        parts = with_latents(self.model, image_list(list(images)))
        turns = [[user(part, text)] for part, text in zip(parts, texts, strict=True)]
        batch = batch_of(self.model, rows_of(self.model, turns, open_turn=True))
        states, last = self.model(batch), batch.attention_mask.sum(1) - 1
        logits = self.model.llm.lm_head(states[torch.arange(len(last), device=last.device), last])
        return logits.float().softmax(-1).cpu()

    def _first_tokens(self, spellings: Sequence[str]) -> list[int]:
        ids = [encode(tokenizer_of(self.model), text) for text in spellings]
        if not ids or not all(ids):
            raise ValueError(f"spellings: expected one or more words, got {list(spellings)}")
        return sorted({tokens[0] for tokens in ids})

    def _answers(self, images: Sequence[Image], texts: Sequence[str], **options) -> list[str]:
        said: list[str] = []
        for batch in batches(list(zip(images, texts, strict=True)), self.batch_size):
            pictures, asked = map(list, zip(*batch, strict=True))
            said += self.model.answer(pictures, asked, **options)
        return said


def load_own(source: str | Path, device: str) -> UniMM:
    """Return a UniMM from its name, folder or hub id, in eval mode."""
    from unimm.model import UniMM

    with quiet():
        return UniMM.from_pretrained(str(source)).eval().to(device)
