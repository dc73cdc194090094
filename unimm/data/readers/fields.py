"""What rows of strangers are checked for: keys, types, words, and paths that stay under their root."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from unimm.data.pictures import Stored
from unimm.data.readers.tars import Tar
from unimm.data.samples import BrokenSample

MAX_TEXT_BYTES = 2**20
"""Of one caption or turn; a novel. What is longer is not a caption."""

ABSENT = object()


def field(row: Any, name: str, key: str) -> Any:
    """Return a value of a row.

    Raises:
        BrokenSample: not a mapping, or without this key.
    """
    if not isinstance(row, Mapping):
        raise BrokenSample(key, f"expected an object with {name!r}, got {shown(row)}")
    if name not in row:
        raise BrokenSample(key, f"expected a key {name!r}, got {', '.join(map(repr, row)) or 'no keys'}")
    return row[name]


def listed(value: Any, name: str, key: str) -> Sequence[Any]:
    """Return a value that must be a list; NumPy's and Arrow's count.

    Raises:
        BrokenSample: something else.
    """
    if hasattr(value, "tolist") and not isinstance(value, str | bytes):
        value = value.tolist()
    if not isinstance(value, list | tuple):
        raise BrokenSample(key, f"{name}: expected a list, got {shown(value)}")
    return value


def worded(value: Any, name: str, key: str) -> str:
    """Return a value that must be words.

    Raises:
        BrokenSample: not a string, blank, too long, or with characters that no text has.
    """
    text = plain(value, name, key)
    if not text.strip():
        raise BrokenSample(key, f"{name}: expected words, got {text!r}", "text")
    return text


def plain(value: Any, name: str, key: str) -> str:
    """Return a value that must be a string, which may be empty.

    Raises:
        BrokenSample: not a string, too long, or with characters that no text has.
    """
    if not isinstance(value, str):
        raise BrokenSample(key, f"{name}: expected text, got {shown(value)}", "text")
    if "\0" in value:
        raise BrokenSample(key, f"{name}: expected text, got one with NUL characters: binary data?", "text")
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise BrokenSample(
            key, f"{name}: half a character at {error.start} (a lone surrogate)", "text"
        ) from None
    if size > MAX_TEXT_BYTES:
        raise BrokenSample(key, f"{name}: expected at most {MAX_TEXT_BYTES} bytes, got {size}", "text")
    return value


def decoded(content: bytes, name: str, key: str) -> str:
    """Return the words in a text file.

    Raises:
        BrokenSample: not UTF-8, or no words.
    """
    try:
        return worded(content.decode("utf-8-sig").strip(), name, key)
    except UnicodeDecodeError as error:
        raise BrokenSample(
            key, f"{name}: expected UTF-8, got {content[:12]!r}... ({error.reason})", "text"
        ) from None


def parsed(content: bytes | str, name: str, key: str) -> Any:
    """Return the value of JSON text.

    Raises:
        BrokenSample: no JSON, nested beyond reason, or with an object that has a key twice.
    """
    try:
        return json.loads(content, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:  # bad UTF-8 and numbers of 5,000 digits are ValueErrors
        told = str(error) or type(error).__name__
        raise BrokenSample(key, f"{name}: not readable as JSON ({told})", "damage") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(name for number, (name, _) in enumerate(pairs) if name in dict(pairs[:number]))
        raise ValueError(f"two keys {twice!r} in one object")
    return found


def shown(value: Any) -> str:
    """Return a value and its type, short."""
    if value is None:
        return "null"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


class Roots:
    """Where the pictures are that rows name: folders, or tars of them.

    A name must stay under the folder it is found in, links followed; a link from one of these folders into
    another is allowed. Absolute names are taken if they are under one of the folders.
    """

    def __init__(self, places: Sequence[Path], cache: Path | None):
        """Open them.

        Raises:
            FileNotFoundError: one is not there.
            ValueError: one is neither a folder nor a tar.
        """
        self.folders, self._members = [], {}
        for place in map(Path, places):
            if place.is_dir():
                self.folders.append(Path(os.path.realpath(place)))
            elif place.suffix == ".tar" and place.is_file():
                tar = Tar(place, cache)
                self._members.update({name: tar.ref(number) for name, number in tar.by_name().items()})
            elif not place.exists():
                raise FileNotFoundError(f"images: no folder or tar at {place}")
            else:
                raise ValueError(f"images: expected folders or .tar files, got {place}; unpack it first")

    def find(self, name: Any, key: str) -> Stored:
        """Return where the picture of this name is; whether it is there, opening it tells.

        Raises:
            BrokenSample: not a name, or one that leads outside.
        """
        if not isinstance(name, str) or not name.strip() or "\0" in name:
            raise BrokenSample(key, f"image: expected a path, got {shown(name)}", "path")
        if (inside := self._members.get(name.removeprefix("./"))) is not None:
            return inside
        if ".." in PurePosixPath(name.replace("\\", "/")).parts:
            raise BrokenSample(key, f"image: {name!r} has '..' in it", "path")
        wanted = [Path(name)] if os.path.isabs(name) else [folder / name for folder in self.folders]
        real = [Path(os.path.realpath(path)) for path in wanted]
        within = [path for path in real if any(path.is_relative_to(folder) for folder in self.folders)]
        if not within:
            raise BrokenSample(key, self._refusal(name, real), "missing" if not real else "path")
        return next((path for path in within if path.is_file()), within[0]) if len(within) > 1 else within[0]

    def _refusal(self, name: str, real: Sequence[Path]) -> str:
        roots = ", ".join(map(str, self.folders)) or "the tars given"
        if not real:
            return f"image: no member {name!r} in {roots}"
        return f"image: {name!r} leads to {real[0]}, outside of {roots}; name the folder with images="


def picture_of(value: Any, name: str, key: str, roots: Roots) -> Stored:
    """Return the picture in a value: bytes, the `{bytes, path}` of Hugging Face's image columns, or a path.

    Raises:
        BrokenSample: none of these.
    """
    if isinstance(value, Mapping):
        value = value["bytes"] if value.get("bytes") is not None else value.get("path")
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str):
        return roots.find(value, key)
    raise BrokenSample(key, f"{name}: expected a picture's bytes or its path, got {shown(value)}")
