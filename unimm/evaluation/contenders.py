"""Who is compared: a model, an adapter on one, or a generator, told by what its folder's config.json says.

Generators are given the face by which models draw, so that all are asked in one way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from unimm.generator import ClassGenerator, GeneratedPictures, Generator, TextGenerator
from unimm.whole import read_json
from unimm.world.classes import CLASSES

if TYPE_CHECKING:
    from unimm.model import UniMM


class Contender:
    """A generator as a model that draws."""

    answers: ClassVar[bool] = False
    """Whether it can be asked questions."""
    kind: ClassVar[type[Generator]]

    def __init__(self, generator: Generator):
        self.generator = generator

    @classmethod
    def open(cls, folder: str) -> Contender:
        """Return the generator of a folder."""
        return cls(cls.kind.from_pretrained(folder))

    def state_dict(self) -> dict[str, Tensor]:
        """Return its weights."""
        return self.generator.state_dict()

    @property
    def manner(self) -> str:
        """A short name of its settings, which say how it draws where nobody else does."""
        return hashlib.blake2b(repr(self.generator.settings).encode(), digest_size=4).hexdigest()

    def generate_image(
        self, prompt: Sequence[str], *, num_images_per_prompt: int, **how: Any
    ) -> GeneratedPictures:
        """Draw prompts as `UniMM.generate_image` does, so many pictures each."""
        raise NotImplementedError


class ByText(Contender):
    """A generator by text."""

    kind = TextGenerator

    def generate_image(
        self, prompt: Sequence[str], *, num_images_per_prompt: int, **how: Any
    ) -> GeneratedPictures:
        return self.generator.generate(prompt, num_images_per_prompt=num_images_per_prompt, **how)


class ByClass(Contender):
    """A generator by class, which draws the names of the world's classes."""

    kind = ClassGenerator

    def __init__(self, generator: ClassGenerator):
        if set(generator.settings.class_names) != set(CLASSES):
            raise ValueError(
                f"generator: expected the {len(CLASSES)} classes of the built-in world, "
                f"got {generator.settings.dit.num_classes} others"
            )
        super().__init__(generator)

    def generate_image(
        self, prompt: Sequence[str], *, num_images_per_prompt: int, **how: Any
    ) -> GeneratedPictures:
        return self.generator.generate(prompt, num_images_per_label=num_images_per_prompt, **how)


class Whole(Contender):
    """Any other name: a model that sees, talks and draws; opened as it is."""

    answers = True


CONTENDERS: dict[str, type[Contender]] = {each.kind.model_type: each for each in (ByText, ByClass)}
"""By the `model_type` of a folder's config.json; all others are models."""


def sort_of(name: str) -> type[Contender]:
    """Return what a name is, by its folder's config.json where there is one."""
    path = Path(name) / "config.json"
    found = read_json(path, of="model").get("model_type") if path.is_file() else None
    return CONTENDERS.get(found, Whole)


def sorts_of(before: str, after: str) -> list[type[Contender]]:
    """Return what both sides are.

    Raises:
        ValueError: one draws classes and the other prompts.
    """
    sorts = [sort_of(before), sort_of(after)]
    if (sorts[0] is ByClass) != (sorts[1] is ByClass):
        raise ValueError(
            f"BEFORE, AFTER: expected both to be generators by class or neither, got {before} and {after}"
        )
    return sorts


def open_sides(before: str, after: str) -> list[Callable[[], UniMM | Contender]]:
    """Return what opens both sides; an adapter's folder is opened on the other, or else on its own base.

    Raises:
        ValueError: an adapter without a base, or sides that draw different things.
        FileNotFoundError: no such folder.
    """
    sorts = sorts_of(before, after)
    return [_opener(before, after, sorts[0]), _opener(after, before, sorts[1])]


def _opener(name: str, other: str, sort: type[Contender]) -> Callable[[], UniMM | Contender]:
    from unimm import UniMM
    from unimm.model.adapter_files import is_adapter, read_base
    from unimm.model.loading import find_folder

    if sort is not Whole:
        return lambda: sort.open(name)
    if not is_adapter(name):
        find_folder(name)  # a name that is none is told before anything is drawn
        return lambda: UniMM.from_pretrained(name).eval()
    base = other
    if is_adapter(other):
        found = read_base(Path(name))
        if found is None:
            raise ValueError(f"{name}: an adapter that does not name its base; compare it with that")
        base = found.name
    return lambda: UniMM.from_pretrained(base, adapter=name).eval()
