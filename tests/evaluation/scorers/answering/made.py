"""Records for every scorer of answers, right or wrong at will."""

from __future__ import annotations

import random
from typing import Any

from unimm.evaluation.scorers import answering

LETTERS = "ABCD"
WORDS = ("red", "blue", "green", "pink", "two")
CHOICES = ("ai2d", "seed", "mmstar", "mmbench", "mmvp", "scienceqa", "mmmu_pro", "mmmu")
YES_NO = ("mme", "pope")


def records(bench: str, number: int = 24, seed: int = 0) -> list[dict[str, Any]]:
    """Return complete records of a benchmark, a multiple of 4; a third of the answers are wrong."""
    rng = random.Random(seed)
    return [_record(bench, at, rng) for at in range(number)]


def _record(bench: str, at: int, rng: random.Random) -> dict[str, Any]:
    right = rng.random() < 0.66
    if bench in YES_NO:
        gold = ("yes", "no")[at % 2]
        said = gold if right else rng.choice(("yes", "no", "perhaps"))
        category = "count" if bench == "mme" else "random"
        return {"id": at, "image": f"i{at // 2}", "category": category, "gold": gold, "prediction": said}
    if bench in CHOICES:
        letters = LETTERS[:2] if bench == "mmvp" else LETTERS
        gold = letters[at % len(letters)]
        return {
            "id": at, "gold": gold, "options": list(WORDS[: len(letters)]), "category": "x",
            "subcategory": f"y{at % 3}",
            "source": at // 4, "pair": at // 2, "has_image": at % 2 == 0, "image": f"i{at // 2}",
            "prediction": gold if right else rng.choice(("A", "B", "unsure")),
        }  # fmt: skip
    gold = rng.choice(WORDS)
    said = gold if right else rng.choice((*WORDS, ""))
    return {
        "id": at,
        "gold": gold if bench == "gqa" else [gold] * 10,
        "prediction": said,
        "image": f"i{at // 2}",
    }


PROTOCOLS = [(bench, protocol) for bench, scorer in answering.TABLE.items() for protocol in scorer.protocols]
