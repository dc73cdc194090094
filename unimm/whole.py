"""Files that are there whole or not at all, and JSON read with care."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PARTIAL = ".partial"
"""Ending of what is being written; a process that was killed may leave such a file, and nobody reads it."""


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Give a place to write a file at; when the block ends well it takes the file's name, else it is gone.

    Each process has its own place, so several may write one file at a time; an older file stays until a new
    one is complete.

    Raises:
        OSError: the folder cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes | str) -> Path:
    """Write a file so that it is there whole or not at all; an older one stays until the new one is complete.

    Raises:
        OSError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    with appearing(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read_json(path: Path, kind: type = dict, of: str = "") -> Any:
    """Return what a JSON file holds.

    Args:
        path: of the file.
        kind: of value that it must hold.
        of: whose file it is, in errors.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no JSON, or JSON of another kind.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{of and f'{of}: '}expected {path.name} in {path.parent}, found none")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # bad JSON and bad UTF-8
        raise ValueError(f"{path}: expected JSON, could not read it ({error})") from None
    if not isinstance(value, kind):
        raise ValueError(
            f"{path}: expected a JSON {_NAMES.get(kind, kind.__name__)}, got {type(value).__name__}"
        )
    return value


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file with one JSON object per line; see `placed_lines`."""
    return [value for _, value in placed_lines(path)]


def placed_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (place, object) of a file with one JSON object per line; empty lines are passed over.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that is no text in UTF-8, or a line that is no JSON object, by its number.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected a file at {path}, found none")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected text in UTF-8, could not read it ({error})") from None
    for number, line in enumerate(text.split("\n"), start=1):  # JSON may hold other ends of lines in strings
        if line.strip():
            where = f"{path}, line {number}"
            yield where, _parsed(line, where)


def _parsed(line: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where}: expected JSON, could not read it ({error})") from None
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected a JSON object, got {type(value).__name__}")
    return value


_NAMES = {dict: "object", list: "array"}
