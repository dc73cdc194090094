"""A rank that falls silent stops the other, which names it, within the time that the recipe gives it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import pytest

from tests.slow.launching import PATIENCE_SECONDS, SCRIPT
from unimm.training import checkpoint
from unimm.training.watch import EXIT_CODE

pytestmark = pytest.mark.slow

BOUND_SECONDS = 20


def ranks_by_hand(run, *changes):
    """Two ranks that no launcher watches."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(run), "2", "8", *changes],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]


def test_a_frozen_rank_stops_the_rest_within_the_bound_and_is_named(tmp_path):
    first, frozen = ranks_by_hand(tmp_path, "hang_at=6", f"timeout_minutes={BOUND_SECONDS / 60}")
    try:
        while checkpoint.latest(tmp_path) is None and first.poll() is None:
            time.sleep(0.1)
        began = time.monotonic()
        _, said = first.communicate(timeout=PATIENCE_SECONDS)
        assert time.monotonic() - began < 2 * BOUND_SECONDS + 10
        told = [line for line in said.splitlines() if f"rank 1 on {socket.gethostname()} (process" in line]
        assert told, said
        assert first.returncode in (1, EXIT_CODE)
        assert checkpoint.latest(tmp_path).name == "step-00000004"
    finally:
        for process in (first, frozen):
            process.kill()
            process.communicate()
