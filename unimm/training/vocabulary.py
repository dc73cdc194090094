"""The built-in model's tokenizer, learnt from what its world says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from unimm.data.world import scene
from unimm.text.chat import GENERATE_TEMPLATE
from unimm.text.tokenizer import train_tokenizer
from unimm.world.questions import alignment, ask, description


def _sentences(num_scenes: int, seed: int) -> Iterator[str]:
    rng = np.random.default_rng([seed, 0])
    for index in range(num_scenes):
        shown = scene(seed, index)
        for question in (ask(shown, rng), description(shown, rng), alignment(shown, rng)):
            if question is not None:
                yield question.text
                yield question.answer
        yield GENERATE_TEMPLATE.format(prompt=description(shown, rng).answer)
        yield "user\n"
        yield "assistant\n"


def world_tokenizer(folder: str | Path, vocab_size: int, num_scenes: int = 20_000, seed: int = 0) -> Path:
    """Write the tokenizer to a folder unless it is there; return the folder."""
    folder = Path(folder)
    if not (folder / "tokenizer.json").is_file():
        train_tokenizer(_sentences(num_scenes, seed), vocab_size).save_pretrained(folder)
    return folder
