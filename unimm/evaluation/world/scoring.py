"""From what was drawn and said to scores. Nothing here needs the model, so scoring can be repeated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unimm.evaluation.bootstrap import Leaf, interval, paired_gain
from unimm.evaluation.store import Arrays, stage
from unimm.evaluation.world.seeing import Probe
from unimm.evaluation.world.settings import CANDIDATES, COUNTS, VERIFIERS
from unimm.world.grammar import tells_all
from unimm.world.prompts import Prompt
from unimm.world.reader import read
from unimm.world.scene import Scene
from unimm.world.spec import FAMILIES, holds

Leaves = dict[str, Leaf]


def read_all(pictures: np.ndarray, title: str) -> list[Scene]:
    """Read pictures, uint8 [P Hp Wp 3]."""
    scenes = []
    with stage(title, len(pictures)) as advance:
        for picture in pictures:
            scenes.append(read(picture))
            advance(1)
    return scenes


def obeyed(asked: Sequence[Prompt], scenes: Sequence[Scene]) -> np.ndarray:
    """Return whether each scene obeys its prompt, bool [P]."""
    return np.array([holds(p.spec, scene) for p, scene in zip(asked, scenes, strict=True)])


def by_family(asked: Sequence[Prompt], right: np.ndarray) -> Leaves:
    """Return the score overall, which is the families' mean as they are balanced, and of each family."""
    family = np.array([prompt.spec.family for prompt in asked])
    return {"overall": interval(right)} | {name: interval(right[family == name]) for name in FAMILIES}


def shuffled(asked: Sequence[Prompt]) -> list[Prompt]:
    """Give each picture another prompt of its family: the next one that asks for something else.

    A family whose prompts all ask for the same, which a very small run may have, keeps its own.
    """
    others = []
    for index, prompt in enumerate(asked):
        following = [*asked[index + 1 :], *asked[:index]]
        alike = [p for p in following if p.spec.family == prompt.spec.family]
        others.append(next((p for p in alike if p.spec != prompt.spec), prompt))
    return others


def same_answer(said: Sequence[str], right: Sequence[str]) -> np.ndarray:
    """Return whether answers agree but for case, spaces around and a full stop, bool [P]."""
    return np.array([_plain(a) == _plain(b) for a, b in zip(said, right, strict=True)])


def _plain(text: str) -> str:
    return str(text).strip().lower().removesuffix(".")


def score_seeing(probes: Sequence[Probe], seen: Arrays) -> dict[str, Leaf | Leaves]:
    """Return scores of answers (overall and by kind), of claims judged, of captions, and the PSNR."""
    right = same_answer(seen["answers"], [probe.question.answer for probe in probes])
    kinds = np.array([probe.question.kind for probe in probes])
    claims = same_answer(seen["claims"], [probe.claim.answer for probe in probes])
    captions = [tells_all(str(text), p.scene) for text, p in zip(seen["captions"], probes, strict=True)]
    return {
        "vqa": interval(right),
        "vqa_by_kind": {str(kind): interval(right[kinds == kind]) for kind in np.unique(kinds)},
        "claims": interval(claims),
        "caption": interval(captions),
        "psnr": interval(seen["psnr"]),
    }


def agreement(said: Sequence[str], right: np.ndarray) -> Leaf:
    """Return how often the model's yes or no about its own drawings is the reader's verdict."""
    return interval(same_answer(said, ["yes" if verdict else "no" for verdict in right]))


def best_of(right: np.ndarray, scores: np.ndarray, count: int) -> np.ndarray:
    """Return each prompt's expected score at best of `count`, [P].

    The candidates are cut into blocks of `count`, each block's best-scored candidate is judged, and the
    verdicts are averaged: each candidate is used once, no estimate is biased. Of equal scores the first wins.

    Args:
        right: bool [P candidates].
        scores: [P candidates], larger is better.
        count: N; it divides the number of candidates.
    """
    blocks = scores.reshape(len(scores), -1, count)
    winners = blocks.argmax(-1)[..., None]
    return np.take_along_axis(right.reshape(blocks.shape), winners, -1)[..., 0].mean(1)


def score_best_of(right: np.ndarray, candidates: Arrays) -> dict[str, dict[str, Leaves] | Leaves]:
    """Return the curve of best of N and its gains over N = 1 for each verifier, and an oracle's curve.

    Args:
        right: bool [P 16], the reader's verdicts.
        candidates: scores [P 16] under each verifier's name.
    """
    assert right.shape[1] == CANDIDATES
    judges = {name: candidates[name] for name in VERIFIERS}
    each = {name: {n: best_of(right, scores, n) for n in COUNTS} for name, scores in judges.items()}
    oracle = {n: best_of(right, right.astype(float), n) for n in COUNTS}
    scored = {"best_of": {name: _leaves(curve) for name, curve in each.items()}, "oracle": _leaves(oracle)}
    for n in COUNTS[1:]:
        scored[f"gain_best_of_{n}"] = {name: paired_gain(curve[1], curve[n]) for name, curve in each.items()}
    return scored


def _leaves(curve: dict[int, np.ndarray]) -> Leaves:
    return {str(n): interval(values) for n, values in curve.items()}
