"""What a side of a comparison is asked, and what it drew and said; kept, so that none is asked twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from unimm.evaluation.contenders import ByClass, Contender
from unimm.evaluation.store import Arrays, Store, stage
from unimm.evaluation.world.drawing import draw, picture_size
from unimm.evaluation.world.scoring import obeyed, read_all, same_answer
from unimm.evaluation.world.seeing import Probe, probe
from unimm.evaluation.world.settings import fingerprint
from unimm.tables import expect_known
from unimm.world.classes import CLASSES
from unimm.world.prompts import SPLITS, Prompt, prompts
from unimm.world.questions import Question
from unimm.world.render import render
from unimm.world.scene import Scene
from unimm.world.spec import FAMILIES, Mention, Spec

if TYPE_CHECKING:
    from unimm.model import UniMM

_PART = 50  # items kept together
_PROBES = 200  # probes looked through for each question that is asked, at the most


@dataclass(frozen=True)
class Settings:
    """What two sides are compared on, and how they draw."""

    limit: int = 300  # prompts per split, over the families in equal parts; drawings of classes; 0: none
    families: tuple[str, ...] = FAMILIES
    splits: tuple[str, ...] = SPLITS
    questions: int = 0  # about renders of held-in scenes
    kinds: tuple[str, ...] = ()  # of questions; none are all
    steps: int = 50
    guidance: float | None = None  # None: the model's own
    seed: int = 0

    def __post_init__(self) -> None:
        for name, given, known in (("families", self.families, FAMILIES), ("splits", self.splits, SPLITS)):
            if not given:
                raise ValueError(f"--{name}: expected one or more of {', '.join(known)}, got none")
            for each in given:
                expect_known(f"--{name}", each, known)
        if self.limit and self.limit < len(self.families):
            raise ValueError(
                f"--limit: expected {len(self.families)} or more, one per family, got {self.limit}"
            )
        if not self.limit and not self.questions:
            raise ValueError("--limit, --questions: expected one of them above 0, got 0 and 0")
        for name, least in (("limit", 0), ("questions", 0), ("steps", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name}: expected {least} or more, got {getattr(self, name)}")

    def check(self, contender: type[Contender]) -> None:
        """Refuse what a sort of contender cannot be asked.

        Raises:
            ValueError: questions to one that only draws; of one that draws classes also families or splits,
                or fewer drawings than there are classes.
        """
        if self.questions and not contender.answers:
            raise ValueError(f"--questions: expected 0 for generators, which only draw, got {self.questions}")
        if contender is not ByClass:
            return
        if (self.families, self.splits) != (FAMILIES, SPLITS):
            raise ValueError(
                "--families, --splits: expected neither for generators by class, got one or both"
            )
        if self.limit < len(CLASSES):
            raise ValueError(
                f"--limit: expected {len(CLASSES)} or more, one drawing per class, got {self.limit}"
            )


class Drawing(NamedTuple):
    """A prompt, what was drawn of it, uint8 [Hp Wp 3], and whether that is right."""

    prompt: Prompt
    picture: np.ndarray
    right: bool


@dataclass
class Side:
    """What one model drew and said."""

    right: dict[str, np.ndarray] = field(default_factory=dict)
    """Whether each drawing and answer is right, bool: by "split family" and "questions kind", which are items
    apart; by "class", "shape" and "colour", which are measures of the same drawings."""
    drawings: list[Drawing] = field(default_factory=list)


def asked_of(settings: Settings, split: str) -> list[Prompt]:
    """Return the prompts of a split, as many of each family."""
    each = settings.limit // len(settings.families)
    found = prompts(split, each, settings.seed) if each else []
    return [prompt for prompt in found if prompt.spec.family in settings.families]


def classes_of(settings: Settings) -> list[Prompt]:
    """Return the names of classes, one after the other and round again, as prompts."""
    names = [CLASSES[index % len(CLASSES)] for index in range(settings.limit)]
    return [
        Prompt(name, Spec((Mention(shape, colour),))) for name in names for colour, shape in [name.split()]
    ]


def probes_of(settings: Settings) -> list[Probe]:
    """Return the scenes and questions.

    Raises:
        ValueError: a kind of question that there is not.
    """
    found: list[Probe] = []
    for index in range(_PROBES * settings.questions):
        if len(found) == settings.questions:
            break
        tried = probe(settings.seed, index)
        if not settings.kinds or tried.question.kind in settings.kinds:
            found.append(tried)
    if len(found) < settings.questions:
        raise ValueError(f"--kinds: found {len(found)} of {settings.questions} questions of {settings.kinds}")
    return found


def measured(model: UniMM | Contender, settings: Settings, folder: Path) -> Side:
    """Return what a model draws of the prompts and answers to the questions; kept in the folder.

    A generator by class draws its classes in place of prompts.
    """
    name = fingerprint(model, settings)
    if isinstance(model, Contender):
        name += f"-{model.manner}"
    store = Store(folder / name)
    return (_classes if isinstance(model, ByClass) else _prompts)(model, settings, store)


def read_as(asked: Sequence[Prompt], scenes: Sequence[Scene]) -> dict[str, np.ndarray]:
    """Return whether each scene is of one thing, and this of the class, its shape, its colour: bool [P]."""
    seen = [scene.things[0] if len(scene.things) == 1 and not scene.writing else None for scene in scenes]
    pairs = [(prompt.spec.mentions[0], thing) for prompt, thing in zip(asked, seen, strict=True)]
    shape = np.array([thing is not None and thing.shape == wanted.shape for wanted, thing in pairs])
    colour = np.array([thing is not None and thing.colour == wanted.colour for wanted, thing in pairs])
    return {"class": shape & colour, "shape": shape, "colour": colour}


def _classes(model: ByClass, settings: Settings, store: Store) -> Side:
    asked, first = classes_of(settings), settings.seed * len(SPLITS) * 1_000_000
    drawn = _collect(store, "classes", asked, lambda p, s: _drawn(model, p, first + s, settings))
    right = read_as(asked, read_all(drawn["pictures"], "reading drawings"))
    return Side(right, list(map(Drawing, asked, drawn["pictures"], right["class"])))


def _prompts(model: UniMM | Contender, settings: Settings, store: Store) -> Side:
    side = Side()
    for place, split in enumerate(settings.splits):
        asked = asked_of(settings, split)
        if not asked:
            continue
        first = (settings.seed * len(SPLITS) + place) * 1_000_000
        drawn = _collect(store, split, asked, lambda p, s, first=first: _drawn(model, p, first + s, settings))
        verdicts = obeyed(asked, read_all(drawn["pictures"], f"reading {split} drawings"))
        side.right |= _by(f"{split} ", [prompt.spec.family for prompt in asked], verdicts)
        side.drawings += map(Drawing, asked, drawn["pictures"], verdicts)
    probes = probes_of(settings)
    if probes:
        size = picture_size(model)
        answers = _collect(store, "questions", probes, lambda piece, start: _answers(model, piece, size))
        questions: list[Question] = [each.question for each in probes]
        verdicts = same_answer(answers["answers"], [question.answer for question in questions])
        side.right |= _by("questions ", [question.kind for question in questions], verdicts)
    return side


def _by(prefix: str, names: Sequence[str], right: np.ndarray) -> dict[str, np.ndarray]:
    kinds = np.array(names)
    return {f"{prefix}{kind}": right[kinds == kind] for kind in dict.fromkeys(names)}


def _collect(store: Store, name: str, items: Sequence, make: Callable[[Sequence, int], Arrays]) -> Arrays:
    with stage(f"asking for {name}", len(items)) as advance:
        return store.collect(name, items, _PART, make, advance)


def _drawn(model: UniMM | Contender, asked: Sequence[Prompt], first: int, settings: Settings) -> Arrays:
    seeds = [first + index for index in range(len(asked))]
    return {"pictures": draw(model, asked, seeds, 1, settings)[1]}


def _answers(model: UniMM, probes: Sequence[Probe], size: int) -> Arrays:
    images = [Image.fromarray(render(each.scene, size)) for each in probes]
    return {"answers": np.array(model.answer(images, [each.question.text for each in probes]))}
