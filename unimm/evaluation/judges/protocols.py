"""What a judge of pictures can be asked, and in what form it answers.

Every judge has a `name`, which goes into the key of the score that rests on it, such as `dpg@mplug`: a score
judged by another model is another score. A list of pictures is answered by a list of the same length, in the
same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from PIL.Image import Image


@dataclass(frozen=True)
class Detections:
    """The things found in one picture of H x W pixels; K may be 0."""

    boxes: np.ndarray
    """[K 4] float: x1 y1 x2 y2 in pixels, y downwards, x2 and y2 exclusive."""
    scores: np.ndarray
    """[K] float in [0, 1]."""
    labels: tuple[str, ...]
    """[K] names of classes, as the benchmark writes them."""
    masks: np.ndarray
    """[K H W] bool."""

    def __post_init__(self) -> None:
        count = len(self.labels)
        wrong = self.boxes.shape != (count, 4) or self.scores.shape != (count,)
        if wrong or self.masks.ndim != 3 or len(self.masks) != count or self.masks.dtype != bool:
            got = f"{self.boxes.shape}, {self.scores.shape}, {self.masks.dtype} {self.masks.shape}"
            raise ValueError(
                f"detections: expected boxes [K 4], scores [K], masks bool [K H W], K={count}, got {got}"
            )

    def __len__(self) -> int:
        return len(self.labels)


@runtime_checkable
class Detector(Protocol):
    """Finds things. One that says by `labels` which it knows is never asked for others."""

    name: str

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Return what is in each picture, unfiltered: the scorer has the thresholds."""


@runtime_checkable
class ColorClassifier(Protocol):
    """Names the colour of a thing that was found; `palette` may say which colours it knows."""

    name: str

    def colors(self, image: Image, boxes: np.ndarray, masks: np.ndarray, label: str) -> list[str]:
        """Return the colour of each thing of one class in one picture.

        Args:
            image: H x W pixels.
            boxes: [K 4], as in `Detections`.
            masks: bool [K H W].
            label: the class of all K things.
        """


@runtime_checkable
class YesNoVQA(Protocol):
    """Answers short questions."""

    name: str

    def ask(self, images: Sequence[Image], questions: Sequence[str]) -> list[str]:
        """Return the answer to each picture's question as it was given, "yes" and "no" in lower case."""


@runtime_checkable
class SoftVQA(Protocol):
    """Tells how likely a short answer is."""

    name: str

    def mass(
        self, images: Sequence[Image], questions: Sequence[str], spellings: Sequence[Sequence[str]]
    ) -> list[float]:
        """Return, per picture, the probability in [0, 1] that the first token begins one of the spellings."""


@runtime_checkable
class Embedder(Protocol):
    """Puts pictures and texts into one space, in which like things are near."""

    name: str

    def images(self, images: Sequence[Image]) -> np.ndarray:
        """Return [n d] float, rows of length 1."""

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return [n d] float, rows of length 1."""


@runtime_checkable
class Judge(Protocol):
    """Follows written instructions about a picture."""

    name: str

    def judge(self, images: Sequence[Image], requests: Sequence[str]) -> list[str]:
        """Return the reply to each picture's request, as it was given."""


KINDS: dict[str, type] = {
    "detector": Detector,
    "colors": ColorClassifier,
    "yes_no": YesNoVQA,
    "soft": SoftVQA,
    "embedder": Embedder,
    "judge": Judge,
}
"""Protocols by the short name that tables and the command line use."""
