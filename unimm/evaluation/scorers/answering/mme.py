"""MME (arXiv:2306.13394): yes and no in 14 subtasks, two questions per picture.

Records: `gold` yes or no, `image`, `category` (a subtask by its official name). A subtask scores 100
(accuracy + accuracy of pictures with both answers right), 0 to 200; perception is the sum of ten (2,000),
cognition of four (800). Pairs are found by subtask and picture, where Cambrian trusts the order of the
rows: the results agree on complete data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from unimm.evaluation.scored import Scored, Totals
from unimm.evaluation.scorers.answering.items import Record
from unimm.evaluation.scorers.answering.judging import OFFICIAL_SEED, Rows, grouped, judge_yes_no
from unimm.evaluation.scorers.answering.parsers import yes_no
from unimm.evaluation.scorers.scorer import Scorer

ABILITIES: dict[str, tuple[str, ...]] = {
    "perception": (
        "existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark", "artwork",
        "OCR",
    ),
    "cognition": ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning"),
}  # fmt: skip
SUBTASKS = tuple(name for names in ABILITIES.values() for name in names)


def _score(
    records: Sequence[Record],
    unparsed: str = "wrong",
    seed: int = OFFICIAL_SEED,
    *,
    read: Callable[[str], str | None],
) -> Scored:
    judged = judge_yes_no(records, read, unparsed, seed)
    rows = Rows()
    for pair in grouped(judged, lambda item: f"{item.category}\n{item.image}").values():
        first = judged.items[pair[0]]
        if first.category not in SUBTASKS:
            raise ValueError(
                f"mme, id {first.id!r}: category: expected one of {', '.join(SUBTASKS)}, "
                f"got {first.category!r}"
            )
        if len(pair) != 2:
            raise ValueError(
                f"mme, picture {first.image!r} of {first.category}: expected 2 questions, got {len(pair)}"
            )
        for at in pair:
            rows.add("accuracy", judged.values[at], first.image)
            rows.add(f"{first.category}/accuracy", judged.values[at], first.image)
        rows.add(f"{first.category}/accuracy+", min(judged.values[at] for at in pair), first.image)
    return rows.scored(judged, _totals)


def _totals(means: Totals) -> Totals:
    """Return the subtasks' scores and their sums; a sum over fewer says so in its name."""
    scores = {
        name: 100 * (means[f"{name}/accuracy"] + means[f"{name}/accuracy+"])
        for name in SUBTASKS
        if f"{name}/accuracy" in means
    }
    totals = dict(scores)
    for ability, names in ABILITIES.items():
        present = [scores[name] for name in names if name in scores]
        if present:
            whole = len(present) == len(names)
            totals[ability if whole else f"{ability} ({len(present)} of {len(names)})"] = sum(present)
    return totals


MME = Scorer(
    "mme",
    1,
    {
        "official": partial(_score, read=yes_no.mme_official),
        "cambrian": partial(_score, read=yes_no.mme_cambrian),
        "lmms_eval": partial(_score, read=yes_no.mme_lmms_eval),
        "vlmevalkit": partial(_score, read=yes_no.vlmevalkit),
    },
)
