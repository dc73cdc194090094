"""Text towers small enough for tests, with tokenizers learnt from a few sentences."""

from __future__ import annotations

from functools import cache

import torch

from unimm.text.clip import CLIPConfig
from unimm.text.sd3 import TOWERS, SD3Text, SD3TextConfig
from unimm.text.t5 import T5Config
from unimm.text.words import CLIPWords, SentencePieceWords, train_clip_words, train_t5_words

SENTENCES = ("a red circle on a sand background", "two blue stars", "a photo of three hearts") * 20
PROMPTS = ("a red circle", "", "two blue stars on a sand background")


@cache
def clip_words() -> CLIPWords:
    return train_clip_words(SENTENCES, 530)


@cache
def t5_words() -> SentencePieceWords:
    return train_t5_words(SENTENCES, 64)


def small_config(towers=TOWERS, **changes) -> SD3TextConfig:
    """Return places of 8 and 12 channels side by side, of 16 below, all padded to 32."""
    sizes = {"vocab_size": 530, "tokens": 10}
    places = {
        "clip_l": CLIPConfig(8, 3, 2, 16, 6, "quick_gelu", **sizes),
        "clip_g": CLIPConfig(12, 2, 3, 24, 10, "gelu", **sizes),
        "t5": T5Config(16, 2, 2, 4, 24, vocab_size=64, tokens=7),
        "width": 32,
    }
    return SD3TextConfig(towers=towers, **{**places, **changes})


def small_text(towers=TOWERS, **changes) -> SD3Text:
    torch.manual_seed(0)
    text = SD3Text(small_config(towers, **changes)).eval().requires_grad_(False)
    words = {"clip_l": clip_words(), "clip_g": clip_words(), "t5": t5_words()}
    text.words = {name: words[name] for name in towers}
    return text
