"""Answers that are numbers: within five per cent counts.

Sources: ChartQA (arXiv:2203.10244, section 5.1) as computed by lmms-eval (75571cf, `chartqa`) after
pix2struct; https://github.com/cambrian-mllm/cambrian (539ffc3, `chartqa_test.py`, `mmmu_test.py`).
"""

from __future__ import annotations

TOLERANCE = 0.05


def relaxed(prediction: str, target: str) -> bool:
    """Return whether numbers are within 5 % of the target, per cent read as hundredths; else equal texts.

    A target of zero is compared as text.
    """
    got, wanted = _fraction(prediction), _fraction(target)
    if got is not None and wanted:
        return abs(got - wanted) / abs(wanted) <= TOLERANCE
    return prediction.lower() == target.lower()


def cambrian(prediction: str, target: str) -> bool:
    """Return whether numbers are within 5 % of the target; else equal texts. Per cent is text."""
    got, wanted = number(prediction.lower()), number(target.lower())
    if got is not None and wanted is not None:
        return within(got, wanted)
    return prediction.lower() == target.lower()


def within(got: float, wanted: float) -> bool:
    """Return whether a number is off by at most 5 % of the second's size."""
    return abs(got - wanted) <= abs(wanted) * TOLERANCE


def number(text: str) -> float | None:
    """Return what Python reads as a float, or None."""
    try:
        return float(text)
    except ValueError:
        return None


def _fraction(text: str) -> float | None:
    if text.endswith("%"):
        value = number(text.rstrip("%"))
        return None if value is None else value / 100.0
    return number(text)
