"""From captions and instructions to turns: the requests that data sets leave unsaid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from unimm.data.pictures import Stored
from unimm.data.samples import Sample
from unimm.parts import Image, Part, Text, Turn
from unimm.tables import pick
from unimm.text.chat import CAPTION_REQUEST

PLACE = "{caption}"
RECONSTRUCT = "Please reconstruct the given image."
"""BLIP3-o's request for its image-to-image mode."""

Turning = Callable[[Stored, str, str], tuple[Turn, ...]]
"""`turning(picture, caption, template)`."""


def check_template(template: str) -> str:
    """Refuse a template without a place for the caption.

    Raises:
        ValueError: no "{caption}", or two.
    """
    if template.count(PLACE) != 1:
        raise ValueError(f"template: expected one {PLACE} in it, got {template!r}")
    return template


def turn(role: str, *parts: Part | str) -> Turn:
    """Return a turn; words are given plain, and blank ones left out."""
    return Turn(role, tuple(Text(part) if isinstance(part, str) else part for part in parts if part != ""))


def draw(picture: Stored, caption: str, template: str) -> tuple[Turn, ...]:
    """Asked for by its caption, the picture is drawn."""
    return turn("user", template.replace(PLACE, caption)), turn("assistant", Image(picture, target=True))


def describe(picture: Stored, caption: str, template: str) -> tuple[Turn, ...]:
    """Shown the picture, its caption is said; the template is not used."""
    return turn("user", Image(picture), CAPTION_REQUEST), turn("assistant", caption)


def reconstruct(picture: Stored, caption: str, template: str) -> tuple[Turn, ...]:
    """Shown the picture, it is drawn again; the caption is not used."""
    return turn("user", Image(picture), RECONSTRUCT), turn("assistant", Image(picture, target=True))


TASKS: dict[str, Turning] = {"draw": draw, "describe": describe, "reconstruct": reconstruct}
"""What a captioned picture is made to teach."""


def edit(shown: Sequence[Stored], instruction: str, drawn: Stored, template: str = PLACE) -> tuple[Turn, ...]:
    """Shown pictures and told what to do with them, another is drawn."""
    request = turn("user", *(Image(each) for each in shown), template.replace(PLACE, instruction))
    return request, turn("assistant", Image(drawn, target=True))


def captioned(
    key: str, picture: Stored, captions: Mapping[str, str], task: str, template: str, label: int | None = None
) -> Sample:
    """Return the sample of a picture with one caption or more, each a wording by its name."""
    turning = pick("task", task, TASKS)
    wordings = {name: turning(picture, caption, template) for name, caption in captions.items()}
    first = next(iter(wordings.values()))
    return Sample(first, key, wordings, label)
