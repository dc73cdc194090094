"""Watching over the other ranks: a rank that is no longer heard from stops the rest, by name and in time.

Every rank tells the others that it lives, through the store by which they met, from a thread of its own; each
listens to the next. A rank that was killed, frozen, or whose machine is gone falls silent; whoever listens to
it says so to all, and all leave. A rank that fails says so itself. One that lives and waits for nothing
cannot be told from a slow one: for that there is the time limit of the collectives, after which
`furthest_behind` says who is missing.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from typing import Any

import torch

EXIT_CODE = 70
PREFIX = "unimm-ranks"
LONGEST_INTERVAL = 5.0  # seconds between two signs of life


class Watch:
    """Tells that this rank lives or failed, and listens to the next."""

    def __init__(self, store: Any, rank: int, world: int, patience_seconds: float):
        self.store, self.rank, self.world, self.patience = store, rank, world, patience_seconds
        self.interval = min(LONGEST_INTERVAL, patience_seconds / 4)
        self.step, self._beat, self._done = 0, 0, threading.Event()
        self._tell()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> Watch:
        self._thread.start()
        return self

    def close(self) -> None:
        """Say that this rank leaves in order."""
        self._done.set()
        self._thread.join()
        try:
            self.store.set(f"{PREFIX}/{self.rank}", json.dumps({"gone": True}))
        except RuntimeError:  # the first rank keeps the store, and may have left before
            return

    def explain(self, error: Exception) -> None:
        """Tell all ranks that this one failed; or, where one failed before, add that to the error.

        A RuntimeError may be that ranks waited in vain: it also says who is furthest behind.
        """
        self._done.set()  # its own error is not to be answered by its own thread
        try:
            if verdict := self._verdict():
                error.add_note(verdict)
                return
            if isinstance(error, RuntimeError):
                error.add_note(f"furthest behind is {self.furthest_behind()}")
            told = "; ".join([str(error), *getattr(error, "__notes__", ())])
            failed = described(self.rank, self._heard(self.rank))
            self.store.set(f"{PREFIX}/verdict", f"{failed}: {type(error).__name__}: {told}")
        except RuntimeError:  # the first rank keeps the store, and may have left before
            return

    def furthest_behind(self) -> str:
        """Return who did the fewest steps, in words."""
        signs = {rank: self._heard(rank) for rank in range(self.world)}
        lowest = min(signs, key=lambda rank: signs[rank].get("step", float("inf")))
        return described(lowest, signs[lowest])

    def _run(self) -> None:
        followed = (self.rank + 1) % self.world
        last, since = None, time.monotonic()
        while not self._done.wait(self.interval):
            try:
                self._tell()
                sign, verdict = self._heard(followed), self._verdict()
            except RuntimeError as error:
                if not self._done.wait(self.interval):  # at the end the first rank may leave a moment earlier
                    self._leave(f"rank 0, through which all ranks meet, does not answer ({error})")
                return
            if sign != last or sign.get("gone"):
                last, since = sign, time.monotonic()
            elif not verdict and time.monotonic() - since > self.patience:
                verdict = f"{described(followed, sign)}: not heard from for {self.patience:.0f} s"
                self.store.set(f"{PREFIX}/verdict", verdict)
            if verdict and not self._done.is_set():
                self._leave(verdict)
                return

    def _tell(self) -> None:
        self._beat += 1
        sign = {"beat": self._beat, "step": self.step, "host": socket.gethostname(), "process": os.getpid()}
        self.store.set(f"{PREFIX}/{self.rank}", json.dumps(sign))

    def _heard(self, rank: int) -> dict[str, Any]:
        key = f"{PREFIX}/{rank}"
        return json.loads(self.store.get(key)) if self.store.check([key]) else {}

    def _verdict(self) -> str:
        key = f"{PREFIX}/verdict"
        return self.store.get(key).decode() if self.store.check([key]) else ""

    def _leave(self, why: str) -> None:
        print(f"rank {self.rank} stops: {why}; run it again to go on", file=sys.stderr, flush=True)
        os._exit(EXIT_CODE)  # the main thread may wait in a collective for ever


def described(rank: int, sign: dict[str, Any]) -> str:
    """Return a rank in words: its host, process and step."""
    if "host" not in sign:
        return f"rank {rank}, of which nothing was ever heard"
    return f"rank {rank} on {sign['host']} (process {sign['process']}, {sign['step']} steps done)"


def watch_over(patience_seconds: float) -> Watch | None:
    """Start to watch the process group that was joined; None where a rank is alone."""
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    if world == 1:
        return None
    store = torch.distributed.distributed_c10d._get_default_store()
    return Watch(store.clone(), rank, world, patience_seconds).start()
