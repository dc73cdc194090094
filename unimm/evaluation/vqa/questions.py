"""A question of a benchmark in its normal form, whatever data it was read from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from unimm.evaluation.vqa.pictures import Picture


@dataclass(frozen=True)
class Question:
    """What is asked about a picture, and what is right."""

    id: str
    text: str
    gold: Any
    """As the benchmark's scorer reads it: a letter, "yes" or "no", a text, or a tuple of texts."""
    picture: Picture | None
    """None where the question has none; the benchmark says whether that may be."""
    image: str
    """What the question is about: questions with the same stand and fall together."""
    category: str = ""
    options: tuple[str, ...] | None = None
    """Of a choice, A first."""
    hint: str = ""
    tokens: tuple[str, ...] = ()
    """Words that an OCR engine read in the picture."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the record that the scorer reads."""
    pictures: int = 1
    """How many the question has."""
    more: tuple[Picture, ...] = ()
    """Those behind the first, by their numbers in the text, where the data's rows give them."""

    def record(self) -> dict[str, Any]:
        """Return the fields of its record that are known before it is answered."""
        fields: dict[str, Any] = {"id": self.id, "image": self.image, "gold": self.gold}
        if self.category:
            fields["category"] = self.category
        if self.options is not None:
            fields["options"] = list(self.options)
        return {**fields, **self.facts}
