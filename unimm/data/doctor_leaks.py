"""Prompts of benchmarks in training data: the same words, or nearly.

Words are compared without case, punctuation and articles. A text holds a prompt exactly if its last words are
the prompt's and no more than a short request stands before; nearly, if most of the prompt's word triples are
in a text not much longer than it. BLIP3o-60k's `geneval_train.tar`, for one, is written on GenEval's prompts.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ARTICLES = frozenset({"a", "an", "the"})
REQUEST_WORDS = 12
"""Words that may stand before a prompt: "Please generate image based on the following caption" has eight."""

NEAR = 0.8
"""Share of a prompt's triples that make a near duplicate."""

NEAR_WORDS = 8
"""Shorter prompts are compared exactly only: they share most triples with every caption of their sort."""

PROMPT_KEYS = ("prompt", "Prompt", "text", "caption")


@dataclass(frozen=True)
class Leak:
    """A prompt that a text holds."""

    prompt: str
    source: str
    """The file that it is from."""
    kind: str
    """ "exact" or "near"."""
    text: str


def words_of(text: str) -> tuple[str, ...]:
    """Return a text's words as they are compared."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    spaced = "".join(each if each.isalnum() else " " for each in folded)
    return tuple(word for word in spaced.split() if word not in ARTICLES)


class Leaks:
    """Finds prompts in texts."""

    def __init__(self, prompts: Mapping[str, str]):
        """Index prompts, each with the file it is from.

        Raises:
            ValueError: none.
        """
        if not prompts:
            raise ValueError("prompts: expected at least one, got none")
        self.prompts = dict(prompts)
        self._exact: dict[tuple[str, ...], str] = {}
        self._by_triple: dict[tuple[str, ...], list[str]] = defaultdict(list)
        self._triples: dict[str, int] = {}
        for prompt in self.prompts:
            words = words_of(prompt)
            if not words:
                continue
            self._exact.setdefault(words, prompt)
            if len(words) >= NEAR_WORDS:
                triples = set(_triples(words))
                self._triples[prompt] = len(triples)
                for triple in triples:
                    self._by_triple[triple].append(prompt)

    def find(self, text: str) -> list[Leak]:
        """Return the prompts that a text holds."""
        words = words_of(text)
        found = dict.fromkeys(self._same(words), "exact") or dict.fromkeys(self._near(words), "near")
        return [Leak(prompt, self.prompts[prompt], kind, text) for prompt, kind in found.items()]

    def _same(self, words: Sequence[str]) -> Iterator[str]:
        """Yield the longest prompt that a text ends with, behind a request."""
        for start in range(min(REQUEST_WORDS, len(words) - 1) + 1 if words else 0):
            if (prompt := self._exact.get(tuple(words[start:]))) is not None:
                yield prompt
                return

    def _near(self, words: Sequence[str]) -> Iterator[str]:
        triples = set(_triples(words))
        shared = Counter(prompt for triple in triples for prompt in self._by_triple.get(triple, ()))
        for prompt, count in shared.items():
            longest = 1.5 * len(words_of(prompt)) + REQUEST_WORDS
            if count >= NEAR * self._triples[prompt] and len(words) <= longest:
                yield prompt


def _triples(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return zip(words, words[1:], words[2:], strict=False)


def read_prompts(paths: Sequence[Path]) -> dict[str, str]:
    """Return the prompts of benchmarks' files, each with the name of its file.

    Read are JSON lines and lists of strings or of objects with "prompt" (GenEval's evaluation_metadata.jsonl,
    WISE's), text files with a prompt in each line, and folders of text files of one prompt (DPG-Bench's).

    Raises:
        FileNotFoundError: nothing there.
        ValueError: no prompts in it.
    """
    prompts: dict[str, str] = {}
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"prompts: nothing at {path}")
        found = _in_folder(path) if path.is_dir() else _in_file(path)
        if not found:
            raise ValueError(f"{path}: expected prompts, found none")
        prompts.update({prompt: path.name for prompt in found if prompt.strip()})
    return prompts


def _in_folder(folder: Path) -> list[str]:
    return [_text(path).strip() for path in sorted(folder.glob("*.txt"))]


def _in_file(path: Path) -> list[str]:
    text = _text(path)
    if path.suffix not in (".json", ".jsonl"):
        return [line.strip() for line in text.split("\n") if line.strip()]
    try:
        rows = (
            json.loads(text)
            if path.suffix == ".json"
            else [json.loads(line) for line in text.split("\n") if line.strip()]
        )
    except ValueError as error:
        raise ValueError(f"{path}: not readable as JSON ({error})") from error
    rows = list(rows.values()) if isinstance(rows, dict) else rows
    return [_prompt(row, path, number) for number, row in enumerate(rows)]


def _prompt(row, path: Path, number: int) -> str:
    held = row if isinstance(row, str) else None
    if isinstance(row, dict):
        held = next((row[key] for key in PROMPT_KEYS if isinstance(row.get(key), str)), None)
    if held is None:
        raise ValueError(
            f"{path}: row {number}: expected one of {', '.join(PROMPT_KEYS)}, got {str(row)[:60]}"
        )
    return held


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text ({error.reason})") from error
