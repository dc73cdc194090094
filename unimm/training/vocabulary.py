"""Tokenizers learnt from what the world says: the built-in model's, and those of CLIP and T5 towers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from unimm.data.world import scene
from unimm.text.chat import GENERATE_TEMPLATE
from unimm.text.published import FOLDERS, load_words, save_words
from unimm.text.sd3 import SD3TextConfig
from unimm.text.tokenizer import train_tokenizer
from unimm.text.words import Words, train_clip_words, train_t5_words
from unimm.world.language import caption
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


def _captions(num_scenes: int, seed: int) -> Iterator[str]:
    rng = np.random.default_rng([seed, 0])
    for index in range(num_scenes):
        yield caption(scene(seed, index), rng)


def world_words(
    folder: str | Path, config: SD3TextConfig, num_scenes: int = 20_000, seed: int = 0
) -> dict[str, Words]:
    """Return tokenizers for the towers of a text conditioning, learnt from the world's captions once.

    Both CLIP towers share one; what is in the folder already is read, not learnt again.
    """
    folder, sizes = Path(folder), {name: getattr(config, name).vocab_size for name in config.towers}
    learn = {"clip_l": train_clip_words, "clip_g": train_clip_words, "t5": train_t5_words}
    missing = {name: size for name, size in sizes.items() if not (folder / FOLDERS[name][1]).is_dir()}
    if missing:
        texts = list(_captions(num_scenes, seed))
        save_words({name: learn[name](texts, size) for name, size in missing.items()}, folder)
    return load_words(folder, config.towers)
