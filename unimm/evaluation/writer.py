"""Pictures written behind the model's back, so that it need not wait for the disk."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from types import TracebackType

_WAITING = 64  # jobs; bounds memory when the disk is slower than the model


class Writer:
    """Does small jobs in their order in a thread of its own; an error in one of them stops the caller."""

    def __init__(self) -> None:
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue(_WAITING)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def put(self, job: Callable[[], None]) -> None:
        """Add a job; wait while too many are waiting.

        Raises:
            BaseException: whatever an earlier job raised.
        """
        self._raise()
        self._jobs.put(job)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if self._error is not None:
                continue  # what comes after a failed write would rest on it
            try:
                job()
            except BaseException as error:  # told to the caller, whose thread it belongs to
                self._error = error

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish what is waiting, then tell of an error unless another one is on its way."""
        self._jobs.put(None)
        self._thread.join()
        if kind is None:
            self._raise()
