"""A small tokenizer in the files of the published models."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<im_start>", "<im_end>")
ASCII = sorted({*map(chr, range(33, 127)), "\u0120", "\u010a"})  # with Ġ for a space and Ċ for a new line
TEXTS = [
    " ".join(dir(str)),
    "Generate an image of two red circles left of a blue star",
    "yes no Yes No",
    "Describe this image.",
]
CONFIG = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}


def write_tokenizer(
    folder: Path,
    num_pieces: int = 155,
    marks: tuple[str, ...] = MARKS,
    fast: bool = False,
    special: bool = True,
) -> dict[str, int]:
    """Write a tokenizer of so many pieces and, after them, these marks; return its vocabulary.

    Args:
        fast: tokenizer.json, else vocab.json, merges.txt and added_tokens.json.
        special: whether the files say that the marks of an image are special.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _pieces(num_pieces)
    pieces = tokenizer.get_vocab()
    added = {mark: len(pieces) + index for index, mark in enumerate(marks)}
    if fast:
        tokenizer.add_special_tokens(list(marks[:3]))
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)(list(marks[3:]))
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, eos_token=CONFIG["eos_token"], pad_token=CONFIG["pad_token"]
        ).save_pretrained(folder)
        return pieces | added
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    flat = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    decoder = {
        str(index): {"content": mark, "special": special or "|" in mark, **flat}
        for mark, index in added.items()
    }
    for name, text in {
        "vocab.json": json.dumps(pieces),
        "merges.txt": "#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges) + "\n",
        "added_tokens.json": json.dumps(added),
        "tokenizer_config.json": json.dumps(CONFIG | {"added_tokens_decoder": decoder}),
    }.items():
        (folder / name).write_text(text, encoding="utf-8")
    return pieces | added


def _pieces(count: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    letters = ASCII[:count]
    trainer = trainers.BpeTrainer(
        vocab_size=count, initial_alphabet=letters, limit_alphabet=len(letters), show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    assert tokenizer.get_vocab_size() == count
    return tokenizer
