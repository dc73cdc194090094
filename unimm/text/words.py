"""Prompts as token ids of one length, for CLIP (BPE) and T5 (sentencepiece); what does not fit is counted."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

if TYPE_CHECKING:
    from transformers import CLIPTokenizer, PreTrainedTokenizerFast

CLIP_START, CLIP_END = "<|startoftext|>", "<|endoftext|>"
T5_PAD, T5_END, T5_UNKNOWN = 0, 1, 2
# How CLIP cuts text before BPE (Radford et al. 2021): contractions, words, single digits, punctuation.
_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


@dataclass(frozen=True)
class Rows:
    """Prompts of one tower: ids [B L], and how many tokens of each prompt did not fit."""

    ids: Tensor
    cut: tuple[int, ...]


class Words(Protocol):
    """What turns prompts into ids of one tower."""

    size: int
    """Ids lie below this."""

    def rows(self, prompts: Sequence[str], length: int) -> Rows:
        """Return each prompt as `length` ids: its marks, its tokens as far as they fit, padding."""

    def save(self, folder: Path) -> None:
        """Write the files that the loader of this kind reads back."""


class CLIPWords:
    """CLIP's lower-cased byte-level BPE: start, tokens, end, padding."""

    def __init__(self, tokenizer: CLIPTokenizer):
        self.tokenizer = tokenizer
        self.size = len(tokenizer)
        self.pad = tokenizer.pad_token_id  # the end mark for CLIP-L, "!" for OpenCLIP-bigG

    def rows(self, prompts: Sequence[str], length: int) -> Rows:
        start, end = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        return _rows(self._encode(prompts), length, start=[start], end=end, pad=self.pad)

    def save(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)

    def _encode(self, prompts: Sequence[str]) -> list[list[int]]:
        # A mark spelled out in a prompt is read as characters: it must not end the text.
        read = self.tokenizer(
            list(prompts), add_special_tokens=False, split_special_tokens=True, verbose=False
        )
        return read["input_ids"]


class SentencePieceWords:
    """T5's unigram pieces as sentencepiece cuts them: tokens, end, padding."""

    def __init__(self, model: bytes):
        """Open a serialised sentencepiece model, the bytes of a `spiece.model`.

        Raises:
            ImportError: sentencepiece is not installed.
            ValueError: the bytes are no such model.
        """
        self.model = model
        self.processor = _sentencepiece().SentencePieceProcessor()
        try:
            self.processor.LoadFromSerializedProto(model)
        except RuntimeError as error:
            raise ValueError(
                f"spiece.model: expected a sentencepiece model, got other bytes ({error})"
            ) from None
        self.size = len(self.processor)

    def rows(self, prompts: Sequence[str], length: int) -> Rows:
        pieces = self.processor.encode(list(prompts), out_type=int)
        return _rows(pieces, length, start=[], end=T5_END, pad=T5_PAD)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "spiece.model").write_bytes(self.model)


class T5Words:
    """The same from a `tokenizer.json`, without sentencepiece."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast):
        self.tokenizer = tokenizer
        self.size = len(tokenizer)

    def rows(self, prompts: Sequence[str], length: int) -> Rows:
        read = self.tokenizer(
            list(prompts), add_special_tokens=False, split_special_tokens=True, verbose=False
        )
        return _rows(read["input_ids"], length, start=[], end=T5_END, pad=T5_PAD)

    def save(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)


def load_clip_words(folder: str | os.PathLike[str]) -> CLIPWords:
    """Return the tokenizer in a folder of Stable Diffusion's layout (`tokenizer`, `tokenizer_2`).

    Raises:
        FileNotFoundError: the folder holds neither tokenizer.json nor vocab.json and merges.txt.
    """
    names = _names(folder)
    if "tokenizer.json" not in names and not {"vocab.json", "merges.txt"} <= names:
        raise FileNotFoundError(
            f"tokenizer: expected tokenizer.json, or vocab.json and merges.txt, in {folder}, found neither"
        )
    from transformers import CLIPTokenizer

    return CLIPWords(CLIPTokenizer.from_pretrained(folder, local_files_only=True))


def load_t5_words(folder: str | os.PathLike[str]) -> T5Words | SentencePieceWords:
    """Return the tokenizer in a folder (`tokenizer_3`): tokenizer.json, or spiece.model by sentencepiece.

    Raises:
        FileNotFoundError: the folder holds neither.
        ImportError: it holds only spiece.model, and sentencepiece is not installed.
    """
    names = _names(folder)
    if "tokenizer.json" in names:
        from transformers import PreTrainedTokenizerFast

        return T5Words(PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True))
    if "spiece.model" in names:
        return SentencePieceWords((Path(folder) / "spiece.model").read_bytes())
    raise FileNotFoundError(f"tokenizer: expected tokenizer.json or spiece.model in {folder}, found neither")


def train_clip_words(texts: Iterable[str], vocab_size: int) -> CLIPWords:
    """Return a tokenizer in CLIP's manner learnt from texts; start and end are its last two ids.

    Every text can be encoded: the 256 bytes are in the vocabulary, inside a word and at its end.

    Raises:
        ValueError: a vocabulary too small for the bytes and the marks.
    """
    if vocab_size < 514:
        raise ValueError(f"vocab_size: expected 514 or more (2 x 256 bytes and 2 marks), got {vocab_size}")
    from transformers import CLIPTokenizer

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    single = [*alphabet, *(byte + "</w>" for byte in alphabet)]
    merges = _clip_merges(texts, vocab_size - len(single) - 2)
    pieces = [*single, *("".join(pair) for pair in merges), CLIP_START, CLIP_END]
    vocab = {piece: index for index, piece in enumerate(pieces)}
    return CLIPWords(CLIPTokenizer(vocab=vocab, merges=merges))


def train_t5_words(texts: Iterable[str], vocab_size: int) -> SentencePieceWords:
    """Return a tokenizer in T5's manner learnt from texts, of at most vocab_size pieces.

    Raises:
        ImportError: sentencepiece is not installed.
    """
    model = io.BytesIO()
    _sentencepiece().SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        vocab_size=vocab_size,
        hard_vocab_limit=False,
        character_coverage=1.0,
        pad_id=T5_PAD,
        eos_id=T5_END,
        unk_id=T5_UNKNOWN,
        bos_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    return SentencePieceWords(model.getvalue())


def _clip_merges(texts: Iterable[str], count: int) -> list[tuple[str, str]]:
    """Return at most `count` BPE merges; a piece that ends a word carries `</w>`."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", continuing_subword_prefix=""))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    # 512 single pieces at most stand before the merges in the trainer's own vocabulary.
    trainer = trainers.BpeTrainer(vocab_size=512 + count, end_of_word_suffix="</w>", show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"][:count]]


def _rows(pieces: Sequence[Sequence[int]], length: int, start: list[int], end: int, pad: int) -> Rows:
    room = length - len(start) - 1
    ids = torch.full((len(pieces), length), pad, dtype=torch.long)
    for index, tokens in enumerate(pieces):
        row = [*start, *tokens[:room], end]
        ids[index, : len(row)] = torch.tensor(row, dtype=torch.long)
    return Rows(ids, tuple(max(0, len(tokens) - room) for tokens in pieces))


def _names(folder: str | os.PathLike[str]) -> set[str]:
    path = Path(folder)
    if not path.is_dir():
        raise FileNotFoundError(f"tokenizer: expected a folder at {folder}, found none")
    return {entry.name for entry in path.iterdir()}


def _sentencepiece():
    try:
        import sentencepiece
    except ModuleNotFoundError:
        raise ImportError(
            "sentencepiece: needed for T5's spiece.model, not installed; pip install 'unimm[text]', "
            "or put T5's tokenizer.json into the folder"
        ) from None
    return sentencepiece
