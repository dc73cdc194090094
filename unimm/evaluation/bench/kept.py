"""The prompts of a folder, beside its pictures, so that it can be scored again without their source."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from unimm.evaluation.bench.items import Item, PromptSet
from unimm.whole import read_json, write_whole

FILE = "prompts.json"


def keep_prompts(folder: Path, prompts: PromptSet) -> None:
    """Write the prompts to a folder.

    Raises:
        ValueError: other prompts are there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, text = folder / FILE, _text_of(prompts)
    if path.is_file():
        if path.read_text(encoding="utf-8") != text:
            raise ValueError(f"{path}: other prompts are there; choose another folder with --out")
        return
    write_whole(path, text)


def kept_prompts(folder: Path) -> PromptSet | None:
    """Return the prompts that a folder was made for; None where it does not say.

    Raises:
        ValueError: a damaged file.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    value = read_json(path)
    try:
        return PromptSet(**{**value, "items": tuple(Item(**item) for item in value["items"])})
    except (TypeError, KeyError) as error:
        raise ValueError(f"{path}: expected prompts as they were written, {error}") from None


def _text_of(prompts: PromptSet) -> str:
    return json.dumps(asdict(prompts), indent=1) + "\n"
