"""The memory that a plan tells of a tuning, against that of a run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.slow.tuning import STEPS, recipe, workload
from unimm.training.meter import Peak
from unimm.training.plan import Assumptions, Device, estimate

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", STEPS)
def test_memory_of_a_tuning_is_as_planned(name):
    assumed = Assumptions(context_bytes=0, slack=0.0)
    found = estimate(workload(name), recipe(name).train, 1, Device(2**40, Peak(1.0, 1.0)), assumed)
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "MALLOC_TRIM_THRESHOLD_": "0",
        "MALLOC_MMAP_THRESHOLD_": "65536",
    }
    script = str(Path(__file__).with_name("tuned.py"))
    done = subprocess.run(
        [sys.executable, script, name], capture_output=True, text=True, env=environment, check=True
    )
    measured = int(done.stdout)
    print(f"\n{name}: {found.device_total / 1e6:.0f} MB planned, {measured / 1e6:.0f} measured")
    assert measured == pytest.approx(found.device_total, rel=0.125)
