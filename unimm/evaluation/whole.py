"""Files that are there whole or not at all, and lists of JSON read with care."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

PARTIAL = ".partial"
"""Ending of what is being written; a process that was killed may leave such a file, and nobody reads it."""


def write_whole(path: Path, content: bytes | str) -> Path:
    """Write a file so that it is there whole or not at all; an older one stays until the new one is complete.

    Raises:
        OSError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    data = content.encode() if isinstance(content, str) else content
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        partial.write_bytes(data)
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    return path


def read_json(path: Path, kind: type = dict) -> Any:
    """Return what a JSON file holds.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no JSON, or JSON of another kind.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected a file at {path}, found none")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON, could not read it ({error})") from None
    if not isinstance(value, kind):
        raise ValueError(f"{path}: expected a JSON {kind.__name__}, got {type(value).__name__}")
    return value


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file with one JSON object per line; empty lines are passed over.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line that is no JSON object, by its number.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected a file at {path}, found none")
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            found.append(_parsed(line, f"{path}, line {number}"))
    return found


def _parsed(line: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where}: expected JSON, could not read it ({error})") from None
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected a JSON object, got {type(value).__name__}")
    return value
