"""The memory that a plan tells, against that of a run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.slow.planning import PICTURES, RECIPE, talk_workload
from unimm.training.meter import Peak
from unimm.training.plan import Assumptions, Device, estimate

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["talk", *PICTURES])
def test_memory_is_as_planned(name):
    workload = talk_workload() if name == "talk" else PICTURES[name]()[2]
    assumed = Assumptions(context_bytes=0, slack=0.0)
    found = estimate(workload, RECIPE, 1, Device(2**40, Peak(1.0, 1.0)), assumed)
    script = Path(__file__).with_name("planned.py")
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "MALLOC_TRIM_THRESHOLD_": "0",
        "MALLOC_MMAP_THRESHOLD_": "65536",
    }
    done = subprocess.run(
        [sys.executable, str(script), name], capture_output=True, text=True, env=environment, check=True
    )
    measured = int(done.stdout)
    trained = f"{found.trained / 1e6:.0f} million parameters"
    print(f"\n{name}, {trained}: {found.device_total / 1e6:.0f} MB planned, {measured / 1e6:.0f} measured")
    assert measured == pytest.approx(found.device_total, rel=0.1)
