"""Average normalised Levenshtein similarity of one answer.

Sources: ST-VQA (arXiv:1905.13648, equation 1) as computed by https://github.com/facebookresearch/mmf
(b0ffc7f); lmms-eval (75571cf, `anls`) and VLMEvalKit (e8e78f0, `anls_compute`).
"""

from __future__ import annotations

from collections import Counter

THRESHOLD = 0.5
"""Less similar is 0."""


def anls(prediction: str, target: str) -> float:
    """Return the similarity of two texts, 0 to 1, lower-cased and stripped."""
    return _similarity(*(text.lower().strip() for text in (prediction, target)))


def anls_by_words(prediction: str, target: str) -> float:
    """Return the same with runs of white space as one; the distance is still divided by the raw length."""
    got, wanted = (" ".join(text.strip().lower().split()) for text in (prediction, target))
    return _similarity(got, wanted, max(len(prediction.upper()), len(target.upper())))


def _similarity(got: str, wanted: str, length: int | None = None) -> float:
    length = max(len(got), len(wanted)) if length is None else length
    if got == wanted:
        return 1.0  # of two empty texts too, where upstream divides by zero
    if 1 - least_distance(got, wanted) / length < THRESHOLD:
        return 0.0  # spares most pairs the distance itself
    similarity = 1 - distance(got, wanted) / length
    return similarity if similarity >= THRESHOLD else 0.0


def least_distance(first: str, second: str) -> int:
    """Return a lower bound of the distance: the characters that have no counterpart."""
    shared = (Counter(first) & Counter(second)).total()
    return max(len(first), len(second)) - shared


def distance(first: str, second: str) -> int:
    """Return the fewest insertions, deletions and replacements that make one text the other."""
    row = list(range(len(second) + 1))
    for at, letter in enumerate(first, 1):
        diagonal, row[0] = row[0], at
        for column, other in enumerate(second, 1):
            replaced = diagonal + (letter != other)
            diagonal = row[column]
            row[column] = min(replaced, row[column] + 1, row[column - 1] + 1)
    return row[-1]
