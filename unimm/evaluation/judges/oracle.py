"""Judges that know the built-in world: they read its pictures without a model, and err only where told to.

With them the whole chain from pictures to a score runs in seconds, and a planted defect must show in the
task that it breaks. On pictures that a model drew they are as good as the scene reader is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from PIL.Image import Image

from unimm.evaluation.judges.instances import tight_boxes
from unimm.evaluation.judges.loading import expect_pairs
from unimm.evaluation.judges.protocols import Detections
from unimm.evaluation.judges.world_questions import answer
from unimm.world import vocabulary as words
from unimm.world.reader import read
from unimm.world.render import coverage
from unimm.world.scene import Thing


@dataclass(frozen=True)
class Defects:
    """What a detector does wrong; each is a probability per thing, save for jitter."""

    miss: float = 0.0
    """That a thing is not seen."""
    duplicate: float = 0.0
    """That a thing is reported twice, the second time with a slightly lower score."""
    swap: float = 0.0
    """That a thing is given the name of another shape."""
    jitter: float = 0.0
    """A score is lowered by a number drawn from 0 to this."""
    seed: int = 0
    """What happens to a picture depends on this and on its pixels alone."""

    def __post_init__(self) -> None:
        for name in ("miss", "duplicate", "swap", "jitter"):
            expect_share(name, getattr(self, name))


def expect_share(name: str, value: float) -> None:
    """Refuse a number outside [0, 1].

    Raises:
        ValueError: it is outside.
    """
    if not 0 <= value <= 1:
        raise ValueError(f"{name}: expected a number from 0 to 1, got {value}")


def named(**defects: float) -> str:
    """Return "oracle", or what it does wrong: "oracle-miss0.3"; the seed of mistakes is told with them."""
    told = {name: value for name, value in defects.items() if value}
    wrong = [f"{name}{value:g}" for name, value in told.items()]
    return "-".join(["oracle", *(wrong if told.keys() - {"seed"} else [])])


class OracleDetector:
    """Finds the world's shapes; a `Detector`."""

    surest = 0.98  # a score; GenEval counts what is above 0.9
    labels = tuple(words.SHAPES)

    def __init__(self, defects: Defects | None = None) -> None:
        self.defects = defects or Defects()
        self.name = named(**asdict(self.defects))

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Return the shapes in each picture, in reading order.

        Raises:
            ValueError: a picture that is not square, or too small to be read.
        """
        return [self._detect(image) for image in images]

    def _detect(self, image: Image) -> Detections:
        rng, side = _rng(self.defects.seed, image), image.width
        found = [entry for thing in read(image).things for entry in self._seen(thing, rng)]
        masks = np.array([_mask(thing, side) for thing, _, _ in found], bool).reshape(-1, side, side)
        scores = np.array([score for _, _, score in found], np.float32)
        return Detections(tight_boxes(masks), scores, tuple(label for _, label, _ in found), masks)

    def _seen(self, thing: Thing, rng: np.random.Generator) -> list[tuple[Thing, str, float]]:
        """Return one thing as (thing, label, score), or none, or two."""
        missed, doubled, swapped = rng.random(3) < (
            self.defects.miss,
            self.defects.duplicate,
            self.defects.swap,
        )
        score = self.surest - float(rng.random()) * self.defects.jitter
        others = [shape for shape in words.SHAPES if shape != thing.shape]
        label = others[int(rng.integers(len(others)))] if swapped else thing.shape
        if missed:
            return []
        return [(thing, label, max(score - 0.01 * copy, 0.0)) for copy in range(1 + doubled)]


class OracleColors:
    """Names the palette's colour nearest to a thing's mean pixel; a `ColorClassifier`."""

    palette = tuple(words.COLOURS)

    def __init__(self, wrong: float = 0.0, seed: int = 0) -> None:
        """Prepare.

        Args:
            wrong: probability per thing that another colour is named.
            seed: what happens to a picture depends on this and on its pixels alone.
        """
        expect_share("wrong", wrong)
        self.wrong, self.seed, self.name = wrong, seed, named(wrong=wrong, seed=seed)

    def colors(self, image: Image, boxes: np.ndarray, masks: np.ndarray, label: str) -> list[str]:
        """Return the colour of each masked thing."""
        pixels, rng, said = np.asarray(image.convert("RGB"), np.float64), _rng(self.seed, image), []
        palette = np.array(list(words.COLOURS.values()), np.float64)
        for mask in masks:
            distances = np.square(palette - pixels[mask].mean(0)).sum(1)
            best = int(distances.argmin())
            if rng.random() < self.wrong:
                best = (best + int(rng.integers(1, len(palette)))) % len(palette)
            said.append(tuple(words.COLOURS)[best])
        return said


class OracleVQA:
    """Answers questions about the world's pictures; a `YesNoVQA`, `SoftVQA` and `Judge`."""

    surest = 0.98  # the probability that it gives to its answer

    def __init__(self, wrong: float = 0.0, seed: int = 0) -> None:
        """Prepare.

        Args:
            wrong: probability that a yes becomes a no, or a no a yes.
            seed: what happens to a question depends on this, on it and on the picture's pixels alone.
        """
        expect_share("wrong", wrong)
        self.wrong, self.seed, self.name = wrong, seed, named(wrong=wrong, seed=seed)

    def ask(self, images: Sequence[Image], questions: Sequence[str]) -> list[str]:
        """Return "yes", "no", a number, or that the question cannot be read (see `world_questions`)."""
        expect_pairs(images, questions, "questions")
        return [self._answer(image, question) for image, question in zip(images, questions, strict=True)]

    judge = ask

    def mass(
        self, images: Sequence[Image], questions: Sequence[str], spellings: Sequence[Sequence[str]]
    ) -> list[float]:
        """Return 0.98 where the answer is among the spellings, 0.02 where it is not."""
        expect_pairs(images, spellings, "spellings")
        said = self.ask(images, questions)
        known = [{spelling.strip().lower() for spelling in each} for each in spellings]
        right = [bool(_forms(answer) & each) for answer, each in zip(said, known, strict=True)]
        return [self.surest if each else 1 - self.surest for each in right]

    def _answer(self, image: Image, question: str) -> str:
        said = answer(read(image), question)
        if said in ("yes", "no") and _rng(self.seed, image, question).random() < self.wrong:
            return "no" if said == "yes" else "yes"
        return said


def _forms(said: str) -> set[str]:
    """Return an answer as it is and, of a number, in words."""
    numbers = {str(number): word for number, word in words.COUNT_WORDS.items()}
    return {said, numbers.get(said, said)}


def _mask(thing: Thing, side: int) -> np.ndarray:
    """Return the pixels that a thing covers by more than half, bool [side side]."""
    return coverage(thing, np.arange(side), np.arange(side), side) > 0.5


def _rng(seed: int, image: Image, text: str = "") -> np.random.Generator:
    digest = hashlib.sha256(image.convert("RGB").tobytes() + text.encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "little")])
