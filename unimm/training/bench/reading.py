"""How fast real conversations are read, and how fast a run goes on in the middle of a very long stream."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from transformers import PreTrainedTokenizerFast

from unimm.data.collate import Looking, batch_of_rows
from unimm.data.talks import Reading, SourceSettings, Talks
from unimm.training.prefetch import prefetch

WORDS = (
    "a",
    "photo",
    "of",
    "two",
    "red",
    "circles",
    "left",
    "of",
    "the",
    "blue",
    "star",
    "on",
    "some",
    "table",
)


def write_conversations(folder: Path, pictures: int, size: tuple[int, int] = (640, 480)) -> Path:
    """Write JPEGs and conversations about them in LLaVA's schema; return the file of rows."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, rows = np.random.default_rng(0), []
    for number in range(pictures):
        small = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(
            folder / f"{number}.jpg", quality=90
        )
        rows.append({"id": str(number), "image": f"{number}.jpg", "conversations": _conversation(rng)})
    (folder / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    return folder / "rows.json"


def _conversation(rng: np.random.Generator, turns: int = 3) -> list[dict[str, str]]:
    said = []
    for number in range(turns):
        question, answer = (" ".join(rng.choice(WORDS, size)) for size in (9, 30))
        said += [
            {"from": "human", "value": ("<image>\n" if not number else "") + question},
            {"from": "gpt", "value": answer},
        ]
    return said


def talks_of(
    settings: SourceSettings, tokenizer: PreTrainedTokenizerFast, slots: int, row_length: int, size: int
) -> Talks:
    """Return the rows of one source."""
    reading = Reading(tokenizer, slots, row_length)
    return Talks([settings.open()], [settings], 0, reading, Looking(size, size))


def measure_loading(
    talks: Talks, batches: int, batch_size: int, workers: int, clock: Callable[[], float]
) -> float:
    """Return samples per second, read, rendered, decoded, resized and packed by so many threads."""
    row_length = talks.reading.row_length

    def make(number: int) -> object:
        return batch_of_rows(talks.rows(number * batch_size, batch_size), 0, row_length, True)

    make(batches)
    start = clock()
    for _ in prefetch(make, range(batches), 2 * workers, workers):
        pass
    return batches * batch_size / (clock() - start)


def write_shards(folder: Path, shards: int, rows: int) -> Path:
    """Write shards of conversations without pictures: one file under many names, each indexed on its own."""
    folder.mkdir(parents=True, exist_ok=True)
    first = folder / "shard-00000.jsonl"
    lines = (
        json.dumps(
            {
                "id": str(row),
                "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": f"row {row}"}],
            }
        )
        for row in range(rows)
    )
    first.write_text("\n".join(lines) + "\n", encoding="utf-8")
    for shard in range(1, shards):
        os.link(first, folder / f"shard-{shard:05d}.jsonl")
    return folder


def measure_resume(open_talks: Callable[[], Talks], num_samples: int, times: int, count: int) -> list[float]:
    """Return the seconds of opening a stream anew and reading `count` samples at each of random positions."""
    seconds = []
    for position in np.random.default_rng(0).integers(0, num_samples, times):
        start = time.perf_counter()
        open_talks().rows(int(position), count)
        seconds.append(time.perf_counter() - start)
    return seconds
