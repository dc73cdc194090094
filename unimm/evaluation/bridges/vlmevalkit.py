"""A model for VLMEvalKit, which has no entry points: `register()` adds it to the table that its scripts read.

    import unimm.evaluation.bridges.vlmevalkit as bridge
    bridge.register("unimm-tiny", model="tiny")          # then run vlmeval in the same process

https://github.com/open-compass/VLMEvalKit
"""

from __future__ import annotations

import importlib
import mimetypes
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from unimm.evaluation.bridges.speaker import Request, Speaker
from unimm.evaluation.judges.own import load_own
from unimm.tables import expect_known

LETTER = "Answer with the option's letter from the given choices directly."
SHORT = "Answer the question using a single word or phrase."
"""How Cambrian ends a question (https://github.com/cambrian-mllm/cambrian)."""

PROMPTS = ("harness", "cambrian")
"""Whose wording of questions is used."""

Message = str | Mapping[str, Any] | Sequence[Any]
"""Words; {"type", "value"}; or a list of either, where words that are a picture's path stand for it."""


class Wrapper:
    """The part of VLMEvalKit's model that needs no VLMEvalKit."""

    INTERLEAVE = True
    allowed_types = ["text", "image"]
    is_api = False

    def __init__(
        self,
        model: Any = "tiny",
        *,
        prompts: str = "harness",
        max_new_tokens: int = 512,
        device: str = "cpu",
        **options: Any,
    ) -> None:
        """Load a model, or take one that is loaded.

        Args:
            model: name, folder or hub id, or a `UniMM`.
            prompts: one of `PROMPTS`.
            max_new_tokens: longest reply.
            device: of a model that is loaded here.
            options: of `Speaker`, such as mode, folder and drawing.

        Raises:
            ValueError: unknown prompts or mode.
        """
        expect_known("prompts", prompts, PROMPTS)
        self.prompts, self.max_new_tokens = prompts, max_new_tokens
        loaded = load_own(model, device) if isinstance(model, str | Path) else model
        self.speaker = Speaker(loaded, **options)
        self._asked = 0

    def generate_inner(self, message: Message, dataset: str | None = None) -> str:
        """Return the reply to one message."""
        return self._reply([{"role": "user", "content": parts(message)}], dataset)

    def chat_inner(self, message: Sequence[Mapping[str, Any]], dataset: str | None = None) -> str:
        """Return the next reply of a conversation, a list of {"role", "content": message}."""
        turns = [{"role": turn["role"], "content": parts(turn["content"])} for turn in message]
        return self._reply(turns, dataset)

    def use_custom_prompt(self, dataset: str | None) -> bool:
        """Whether `build_prompt` words the questions, not VLMEvalKit."""
        return self.prompts != "harness"

    def build_prompt(self, line: Mapping[str, Any], dataset: str | None = None) -> list[dict[str, str]]:
        """Return a row of a data set as a message in Cambrian's wording: pictures, then the question.

        Args:
            line: a row with "question", perhaps "hint" and options "A", "B", ... (NaN where there is none).
            dataset: its name; `dump_image` of VLMEvalKit's base class finds the pictures by it.
        """
        paths = self.dump_image(line, dataset)
        shown = [{"type": "image", "value": path} for path in ([paths] if isinstance(paths, str) else paths)]
        return [*shown, {"type": "text", "value": worded(line)}]

    def _reply(self, messages: Sequence[Mapping[str, Any]], dataset: str | None) -> str:
        key = f"{dataset or 'message'}-{self._asked}"
        self._asked += 1
        return self.speaker.replies([Request(messages, key, self.max_new_tokens)])[0]


def worded(line: Mapping[str, Any]) -> str:
    """Return a row's question as Cambrian asks it: with its options by letter, or for a word or phrase."""
    hint = f"{line['hint']}\n" if _there(line, "hint") else ""
    options = [f"{letter}. {line[letter]}" for letter in ascii_uppercase if _there(line, letter)]
    return "\n".join([f"{hint}{line['question']}", *options, LETTER if options else SHORT])


def parts(message: Message) -> list[dict[str, Any]]:
    """Return a message of any of VLMEvalKit's four forms as parts of ours.

    Raises:
        ValueError: another form, or something that is neither words nor a picture.
    """
    if isinstance(message, str | Mapping):
        message = [message]
    if not isinstance(message, Sequence):
        raise ValueError(f"message: expected words, a mapping or a list of these, got {message!r}")
    return [_part(item) for item in message]


def register(name: str, **options: Any) -> None:
    """Add a model to VLMEvalKit's table under a name; options as of `Wrapper`.

    Raises:
        ImportError: VLMEvalKit is not installed here.
    """
    try:
        table = importlib.import_module("vlmeval.config").supported_VLM
        base = importlib.import_module("vlmeval.vlm.base").BaseModel
    except ImportError as error:
        raise ImportError(
            "vlmeval is not installed: clone https://github.com/open-compass/VLMEvalKit, pip install -e it"
        ) from error
    table[name] = partial(type("UniMM", (Wrapper, base), {}), **options)


def _part(item: Any) -> dict[str, Any]:
    if isinstance(item, str):
        kind = (mimetypes.guess_type(item)[0] or "").partition("/")[0]
        item = {"type": "image" if kind == "image" and Path(item).is_file() else "text", "value": item}
    if not isinstance(item, Mapping) or "value" not in item:
        raise ValueError(f"message: expected words or {{'type', 'value'}}, got {item!r}")
    if item.get("type") not in Wrapper.allowed_types:
        raise ValueError(f"message: unimm reads text and image, got {item.get('type')!r}")
    key = "text" if item["type"] == "text" else "image"
    return {"type": key, key: item["value"]}


def _there(line: Mapping[str, Any], column: str) -> bool:
    """Whether a row has a value in a column; a table's hole is a NaN, which is not equal to itself."""
    value = line.get(column)
    return value is not None and value == value and value != ""
