"""The built-in world as a benchmark: its own prompts, in GenEval's schema and under GenEval's rules.

Prompts are made from a seed, held in (every combination was trained on) or held out (one never was). As
GenEval knows no backgrounds, a prompt's background is drawn but not judged; `unimm eval world` judges it.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from unimm.evaluation.bench.benchmark import Source
from unimm.evaluation.bench.geneval import GENEVAL, rows
from unimm.evaluation.bench.items import PromptSet, items_of, sha256
from unimm.tables import expect_known
from unimm.world.prompts import SPLITS, Prompt, prompts
from unimm.world.spec import FAMILIES, Mention

DEFAULT_LIMIT = 600


def read(source: Source) -> PromptSet:
    """Return prompts of the world, balanced over the six families.

    Raises:
        ValueError: a path was given, an unknown split, or fewer prompts than families.
    """
    split = SPLITS[0] if source.split is None else source.split
    if source.path is not None:
        raise ValueError(
            f"--prompts: the world makes its own, got {str(source.path)!r}; leave the option out"
        )
    expect_known("--split", split, SPLITS)
    limit = DEFAULT_LIMIT if source.limit is None else source.limit
    if limit < len(FAMILIES):
        raise ValueError(f"--limit: expected at least {len(FAMILIES)}, one prompt per family, got {limit}")
    asked = prompts(split, limit // len(FAMILIES), source.seed)
    # A number, as the same words may be asked for twice and GenEval's summary knows a prompt by its line.
    lines = [{**metadata(prompt), "number": number} for number, prompt in enumerate(asked)]
    items = items_of(rows(lines), "world")
    return PromptSet(items, len(items), sha256(json.dumps(lines).encode()), f"unimm.world, {split}")


def metadata(prompt: Prompt) -> dict[str, Any]:
    """Return what a prompt asks for, in GenEval's words.

    Of a relation, GenEval names the thing that stays first and the one that stands in the relation to it
    second: "a star left of a circle" includes the circle, then the star with ["left of", 0].
    """
    spec = prompt.spec
    include = [_clause(mention) for mention in spec.mentions]
    if spec.relation is not None:
        moved, anchor = include
        include = [anchor, {**moved, "position": [spec.relation, 0]}]
    exclude = [
        {"class": mention.shape, "count": mention.count + 1} for mention in spec.mentions if mention.exact
    ]
    line = {"tag": spec.family, "include": include, "prompt": prompt.text}
    return {**line, "exclude": exclude} if exclude else line


def _clause(mention: Mention) -> dict[str, Any]:
    clause = {"class": mention.shape, "count": mention.count}
    return clause if mention.colour is None else {**clause, "color": mention.colour}


WORLD = replace(
    GENEVAL,
    name="world",
    about="the built-in world, under GenEval's rules; needs no prompts",
    samples=1,
    read=read,
    defaults={"detector": "oracle", "classifier": "oracle"},
)
