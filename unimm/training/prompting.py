"""Prompts to draw in training, and the rows in which the LLM reads them with gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from unimm.data.order import shuffled
from unimm.llm.splice import gather
from unimm.model.config import ModelSettings
from unimm.model.inputs import check_length, fill, tokenizer_of
from unimm.model.unimm import UniMM
from unimm.parts import Batch, Image, Text, Turn
from unimm.tables import expect_known
from unimm.text.chat import Rendered, collate, opened, render
from unimm.text.tokenizer import special_ids
from unimm.whole import placed_lines
from unimm.world.prompts import sample_prompt
from unimm.world.spec import FAMILIES

_STREAM = 7003  # keeps these random numbers apart from those of every evaluation


@dataclass(frozen=True)
class Asked:
    """A prompt and what is known of it, for whoever judges a picture of it."""

    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)  # of the world: "spec"


@dataclass(frozen=True)
class PromptData:
    """An endless stream of prompts: the world's, or those of a file."""

    families: tuple[str, ...] | None = None  # of the world, held in, one at each position; null: all
    file: str | None = None  # .jsonl, one {"prompt": ..., anything else is metadata} per line
    seed: int = 0

    def __post_init__(self) -> None:
        if self.families is not None and self.file is not None:
            raise ValueError(
                f"families: expected null beside a file, whose prompts are of no families, got "
                f"{', '.join(self.families)} beside {self.file}; set families=null, or file=null"
            )
        for family in self.families or ():
            expect_known("families", family, FAMILIES)
        if self.families == ():
            raise ValueError("families: expected one or more, or null for all, got none")

    def open(self) -> Prompts:
        """Return the stream."""
        return Prompts(self, None if self.file is None else read_prompts(Path(self.file)))


class Prompts:
    """Prompts by position: a pure function of the seed."""

    def __init__(self, data: PromptData, listed: Sequence[Asked] | None):
        self.data, self.listed = data, listed

    def at(self, start: int, count: int) -> list[Asked]:
        """Return the prompts at positions start ... start + count - 1."""
        if self.listed is not None:
            return [self.listed[i] for i in shuffled(len(self.listed), self.data.seed, start, count)]
        return [self._of_the_world(position) for position in range(start, start + count)]

    def _of_the_world(self, position: int) -> Asked:
        rng = np.random.default_rng([_STREAM, self.data.seed, position])
        families = self.data.families or FAMILIES
        prompt = sample_prompt(families[position % len(families)], "held_in", rng)
        return Asked(prompt.text, {"spec": prompt.spec})


def read_prompts(path: Path) -> list[Asked]:
    """Return the prompts of a file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no prompts, or a line that is no object with a text "prompt".
    """
    found = []
    for where, row in placed_lines(path):
        if not isinstance(row.get("prompt"), str) or not row["prompt"].strip():
            raise ValueError(f"{where}: expected a text under 'prompt', got {row.get('prompt')!r}")
        found.append(Asked(row["prompt"], {key: value for key, value in row.items() if key != "prompt"}))
    if not found:
        raise ValueError(f"{path}: expected one prompt or more, got none")
    return found


def drawing_rows(model: UniMM, prompts: Sequence[str]) -> Batch:
    """Return one row for each prompt, as the model reads it when it draws: its queries are the last thing."""
    tokenizer = tokenizer_of(model)
    rows = [drawing_row(model.config.settings, tokenizer, prompt) for prompt in prompts]
    for row in rows:
        check_length(model, len(row.ids))
    return collate(rows, special_ids(tokenizer).pad)


def drawing_row(settings: ModelSettings, tokenizer: Any, prompt: str) -> Rendered:
    """Return the row of one prompt."""
    asked = Turn("user", (Text(fill(settings.chat.generate_template, prompt)),))
    turns = opened([asked, Turn("assistant", (Image(target=True),))], settings.chat.system)
    return render(turns, tokenizer, settings.num_queries)


def conditions_under(model: UniMM, rows: Batch) -> Tensor:
    """Return the conditions [B Q Z] of rows with one picture to draw each; gradients go through."""
    return model.connector(gather(model(rows, rounds=False), rows.query_runs))
