"""A model that says what it is told to say, and otherwise works as ever."""

from __future__ import annotations

import torch

from tests.model.small import small_tokenizer
from unimm.text.tokenizer import encode, special_ids

END, DRAW = "<end>", "<draw>"


def script(model, monkeypatch, *pieces: str) -> None:
    """Make the model's next tokens spell `pieces`: texts, DRAW and END; then END for ever."""
    marks = special_ids(small_tokenizer())
    queue: list[int] = []
    for piece in pieces:
        queue += {END: [marks.turn_end], DRAW: [marks.image_start]}.get(piece) or encode(
            small_tokenizer(), piece
        )

    def forward(states):
        logits = torch.zeros(*states.shape[:-1], 300)
        logits[..., queue.pop(0) if queue else marks.turn_end] = 9.0
        return logits

    monkeypatch.setattr(model.llm.lm_head, "forward", forward)
