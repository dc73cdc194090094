"""unimm.training.watch: who is silent is named; who leaves in order is not missed."""

from __future__ import annotations

import json
import time

import pytest
import torch.distributed as dist

from unimm.training import watch
from unimm.training.watch import EXIT_CODE, PREFIX, Watch


@pytest.fixture
def left(monkeypatch):
    codes = []

    monkeypatch.setattr(watch.os, "_exit", codes.append)
    return codes


def wait_for(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def test_a_silent_rank_is_named_with_its_host_and_its_steps(left, capsys):
    store = dist.HashStore()
    silent = {"beat": 1, "step": 5, "host": "node7", "process": 12}
    store.set(f"{PREFIX}/1", json.dumps(silent))
    Watch(store, 0, 2, patience_seconds=0.2).start()
    wait_for(lambda: left)
    assert left == [EXIT_CODE]
    said = capsys.readouterr().err
    assert "rank 0 stops: rank 1 on node7 (process 12, 5 steps done): not heard from for 0 s" in said
    other = Watch(store, 1, 2, patience_seconds=60)
    assert other._verdict().startswith("rank 1 on node7"), "what one finds out is told to all"


def test_ranks_that_live_and_one_that_left_in_order_are_not_missed(left):
    store = dist.HashStore()
    pair = [Watch(store, rank, 2, patience_seconds=0.4).start() for rank in range(2)]
    time.sleep(1.0)
    pair[1].close()
    time.sleep(1.0)
    pair[0].close()
    assert left == []


def test_who_did_the_fewest_steps_is_furthest_behind():
    store = dist.HashStore()
    pair = [Watch(store, rank, 2, patience_seconds=60) for rank in range(2)]
    pair[0].step = 6
    pair[0]._tell()
    assert pair[0].furthest_behind().startswith("rank 1 on ")


def test_a_rank_that_fails_stops_the_others_with_its_error(left, capsys):
    store = dist.HashStore()
    pair = [Watch(store, rank, 2, patience_seconds=0.4).start() for rank in range(2)]
    pair[1].explain(ValueError("row 7: expected text"))
    pair[1].close()
    wait_for(lambda: left)
    assert left == [EXIT_CODE], "the one that failed goes on to raise its error"
    said = capsys.readouterr().err
    assert said.startswith("rank 0 stops: rank 1 on ")
    assert "0 steps done): ValueError: row 7: expected text; run it again" in said


def test_an_error_that_another_rank_caused_says_so():
    store = dist.HashStore()
    pair = [Watch(store, rank, 2, patience_seconds=60) for rank in range(2)]
    pair[1].step = 3
    pair[1]._tell()
    first, second = RuntimeError("out of memory"), RuntimeError("Connection closed by peer")
    pair[1].explain(first)
    pair[0].explain(second)
    assert first.__notes__[0].startswith("furthest behind is rank 0 on ")
    assert ", 3 steps done): RuntimeError: out of memory" in second.__notes__[0]
