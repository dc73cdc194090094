"""Byte-level BPE in Qwen2.5's manner, with the marks that stand around and inside an image."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
IMAGE_START, IMAGE_END, IMAGE_SLOT = "<im_start>", "<im_end>", "<image>"
SPECIAL_TOKENS = (PAD, TURN_START, TURN_END, IMAGE_START, IMAGE_END, IMAGE_SLOT)
NEEDED_TOKENS = SPECIAL_TOKENS[:-1]
"""A slot's vector is replaced by a latent's or a query's, so any id can hold the place: where a tokenizer has
no IMAGE_SLOT (the published Scale-RAE models), padding does."""

# How Qwen2.5 cuts text before BPE: contractions, words with one leading mark, single digits, punctuation,
# white space.
_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class SpecialIds:
    """The ids of the special tokens in one tokenizer."""

    pad: int
    turn_start: int
    turn_end: int
    image_start: int
    image_end: int
    image_slot: int


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer learnt from `texts`, special tokens included in `vocab_size`.

    Any text can be encoded: the 256 bytes are always in the vocabulary.

    Raises:
        ValueError: a vocabulary too small for the bytes and the special tokens.
    """
    smallest = 256 + len(SPECIAL_TOKENS)
    if vocab_size < smallest:
        raise ValueError(
            f"vocab_size: expected {smallest} or more (256 bytes and the special tokens), got {vocab_size}"
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=TURN_END,
        pad_token=PAD,
        extra_special_tokens=list(SPECIAL_TOKENS[1:]),
        clean_up_tokenization_spaces=False,
    )


def load_tokenizer(folder: str | os.PathLike[str]) -> PreTrainedTokenizerFast:
    """Return the tokenizer saved in `folder`.

    Raises:
        FileNotFoundError: the folder holds no tokenizer.
        ValueError: the tokenizer lacks the marks of an image.
    """
    if not (Path(folder) / "tokenizer.json").is_file():
        raise FileNotFoundError(f"tokenizer: expected tokenizer.json in {folder}, found none")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    special_ids(tokenizer)
    return tokenizer


@lru_cache(maxsize=8)
def special_ids(tokenizer: PreTrainedTokenizerFast) -> SpecialIds:
    """Return the ids of the special tokens; see NEEDED_TOKENS for a tokenizer without slots.

    Raises:
        ValueError: one of the others is not a token of this tokenizer.
    """
    vocabulary = tokenizer.get_vocab()
    missing = [token for token in NEEDED_TOKENS if token not in vocabulary]
    if missing:
        raise ValueError(
            f"tokenizer: expected the special tokens {', '.join(NEEDED_TOKENS)}; missing {', '.join(missing)}"
        )
    slot = vocabulary.get(IMAGE_SLOT, vocabulary[PAD])
    return SpecialIds(*(vocabulary[token] for token in NEEDED_TOKENS), slot)


def load_qwen_tokenizer(folder: str | os.PathLike[str]) -> PreTrainedTokenizerFast:
    """Return the tokenizer of a published Scale-RAE folder: tokenizer.json, or vocab.json and merges.txt.

    Its vocabulary stays as it is. Marks that the files do not call special are made so in memory: one that a
    user spells out is read as ordinary characters.

    Raises:
        FileNotFoundError: the folder holds neither form.
        ValueError: the tokenizer lacks a mark that cannot be done without.
    """
    folder = Path(folder)
    slow = all((folder / name).is_file() for name in ("vocab.json", "merges.txt"))
    if (folder / "tokenizer.json").is_file():
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    elif slow:
        from transformers import Qwen2Tokenizer

        tokenizer = Qwen2Tokenizer.from_pretrained(folder, local_files_only=True)
    else:
        raise FileNotFoundError(
            f"tokenizer: expected tokenizer.json, or vocab.json and merges.txt, in {folder}, found neither; "
            "fetch them, or give tokenizer= a folder that has them"
        )
    special_ids(tokenizer)
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    plain = [token for token in NEEDED_TOKENS if token not in special]
    if plain:
        tokenizer.add_tokens(plain, special_tokens=True)
    return tokenizer


def encode(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """Return the ids of plain text; a special token spelled out in it is read as ordinary characters."""
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]


@lru_cache(maxsize=64)
def fixed(tokenizer: PreTrainedTokenizerFast, text: str) -> tuple[int, ...]:
    """Return the ids of a piece of the template, remembered: every turn needs them."""
    return tuple(encode(tokenizer, text))
