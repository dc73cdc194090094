"""Average normalised Levenshtein similarity of one answer.

Sources: ST-VQA (arXiv:1905.13648, equation 1) as computed by https://github.com/facebookresearch/mmf
(b0ffc7f); lmms-eval (75571cf, `anls`) and VLMEvalKit (e8e78f0, `anls_compute`).
"""

from __future__ import annotations

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
    if 1 - abs(len(got) - len(wanted)) / length < THRESHOLD:
        return 0.0  # spares the distance, which is no smaller
    similarity = 1 - distance(got, wanted) / length
    return similarity if similarity >= THRESHOLD else 0.0


def distance(first: str, second: str) -> int:
    """Return the fewest insertions, deletions and replacements that make one text the other.

    A column of the table is kept as two numbers, whose bits say where it goes up and down by one: a text's
    length in steps instead of the product of both (H. Hyyrö, "Explaining and extending the bit-parallel
    approximate string matching algorithm of Myers", 2001).
    """
    if not first:
        return len(second)
    places: dict[str, int] = {}
    for at, letter in enumerate(first):
        places[letter] = places.get(letter, 0) | 1 << at
    last = 1 << len(first) - 1
    every = (last << 1) - 1
    up, down, result = every, 0, len(first)
    for letter in second:
        equal = places.get(letter, 0)
        diagonal = (((equal & up) + up) ^ up) | equal | down
        right_up, right_down = down | ~(diagonal | up) & every, up & diagonal
        result += bool(right_up & last) - bool(right_down & last)
        right_up, right_down = (right_up << 1 | 1) & every, right_down << 1 & every
        up, down = right_down | ~(diagonal | right_up) & every, right_up & diagonal
    return result
