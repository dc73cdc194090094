"""Replies that cost something, kept in a jsonl file: nothing is asked twice, a killed run goes on."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class Asked:
    """Replies by what was asked; one line {"key", "reply"} each, written as soon as a reply is there."""

    def __init__(self, path: str | Path | None = None) -> None:
        """Read a file of replies, if there is one; None keeps them in memory.

        A last line without an end was cut off by a kill: it is taken away, and asked again.

        Raises:
            ValueError: a line is no reply.
        """
        self.path = None if path is None else Path(path)
        self._replies: dict[str, str] = {}
        self._writing, self._running = threading.Lock(), {}
        if self.path is not None and self.path.exists():
            self._replies = _read(self.path)

    def __len__(self) -> int:
        return len(self._replies)

    def reply(self, question: Mapping[str, Any], ask: Callable[[], str]) -> str:
        """Return the reply to a question, asked only if it never was; safe to call from many threads.

        Args:
            question: all that the reply depends on, as JSON values.
            ask: gets the reply.
        """
        key = hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()
        with self._writing:
            turn = self._running.setdefault(key, threading.Lock())
        with turn:  # a second thread with the same question waits for the first one's reply
            if key not in self._replies:
                self._keep(key, ask())
            return self._replies[key]

    def _keep(self, key: str, reply: str) -> None:
        with self._writing:
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("ab") as file:
                    file.write(json.dumps({"key": key, "reply": reply}).encode() + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
            self._replies[key] = reply


def _read(path: Path) -> dict[str, str]:
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.truncate(path, len(whole))
    replies = {}
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            entry = json.loads(line)
            key, reply = entry["key"], entry["reply"]
        except (ValueError, LookupError, TypeError):
            raise ValueError(f"{path}:{number}: expected a reply {{key, reply}}, got {line[:80]!r}") from None
        if not isinstance(key, str) or not isinstance(reply, str):
            raise ValueError(f"{path}:{number}: expected a key and a reply of text")
        replies[key] = reply
    return replies
