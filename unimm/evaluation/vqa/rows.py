"""A row of a benchmark's data, read field by field with errors that name the place."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unimm.evaluation.vqa.pictures import Picture

MISSING = (None, "", "nan")
"""How the absence of a text is written: by datasets, in tables, and in data that once was a table of NaN."""


@dataclass(frozen=True)
class Row:
    """Named fields, where they stand, and the folder of pictures that are named by path."""

    fields: Mapping[str, Any]
    where: str
    folder: Path | None = None
    number: int = 0
    """In its data, from 0."""
    config: str = ""
    """The part of the data set it is from, such as "vision"."""
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    """Pictures that rows name by an id."""

    def fail(self, name: str, expected: str) -> ValueError:
        """Return the error that a field is not as expected."""
        got = f"got {self.fields[name]!r:.80}" if name in self.fields else f"it has {', '.join(self.fields)}"
        return ValueError(f"{self.where}: {name}: expected {expected}, {got}")

    def has(self, name: str) -> bool:
        """Return whether a field is there and says something."""
        value = self.fields.get(name)
        return not (value is None or (isinstance(value, str) and value in MISSING) or value != value)

    def text(self, name: str) -> str:
        """Return a text; a number or a truth value as it is written."""
        value = self.fields.get(name)
        if not self.has(name) or not isinstance(value, str | int | float | bool):
            raise self.fail(name, "a text")
        return str(value)

    def text_or(self, name: str, otherwise: str = "") -> str:
        """Return a text, or another where there is none."""
        return self.text(name) if self.has(name) else otherwise

    def whole(self, name: str) -> int:
        """Return a whole number."""
        try:
            return int(self.text(name))
        except ValueError:
            raise self.fail(name, "a whole number") from None

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts, or a list as Python writes it in a text."""
        value = self.fields.get(name)
        if isinstance(value, str):
            value = self._literal(name, value)
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise self.fail(name, "a list of texts")
        if not all(isinstance(each, str | int | float) for each in value):
            raise self.fail(name, "a list of texts")
        return tuple(str(each) for each in value)

    def _literal(self, name: str, value: str) -> Any:
        try:
            return ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise self.fail(name, "a list of texts") from None

    def letters(self) -> tuple[str, ...]:
        """Return the options in columns A, B, ...; they end at the first that says nothing."""
        found = []
        for letter in "ABCDEFGHIJ":
            if not self.has(letter):
                break
            found.append(self.text(letter))
        return tuple(found)

    def picture(self, name: str = "image") -> Picture | None:
        """Return a picture: bytes, a file's path inside the data's folder, or datasets' {bytes, path}.

        Of a list it is the first.

        Raises:
            ValueError: something else, or a path that leaves the folder.
        """
        value = self.fields.get(name)
        return self._picture(name, value[0] if isinstance(value, list) and value else value)

    def listed_pictures(self, name: str = "image") -> tuple[Picture, ...]:
        """Return the pictures of a list; a single one may stand alone."""
        value = self.fields.get(name)
        values = value if isinstance(value, list | tuple) else [value]
        found = (self._picture(name, each) for each in values)
        return tuple(picture for picture in found if picture is not None)

    def _picture(self, name: str, value: Any) -> Picture | None:
        if isinstance(value, Mapping):
            value = value.get("bytes") or value.get("path")
        if value is None or value == "":
            return None
        if isinstance(value, Picture):
            return value
        if isinstance(value, bytes):
            return Picture(value)
        if isinstance(value, str) and self.folder is not None:
            return self._file(name, value)
        raise self.fail(name, "the bytes of a picture, or its path in the data's folder")

    def _file(self, name: str, value: str) -> Picture:
        assert self.folder is not None
        path = (self.folder / value).resolve()
        if not path.is_relative_to(self.folder.resolve()):
            raise self.fail(name, f"a path inside {self.folder}")
        return Picture(path)
