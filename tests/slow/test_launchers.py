"""The launchers that the documentation names start a run: on one machine, and on two that are one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.slow.launching import PATIENCE_SECONDS, SCRIPT, losses, run
from tests.training.toy import ToyStage, toy_recipe
from unimm.training.loop import train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    train(toy_recipe(folder, 4, accumulation=2), ToyStage())
    return folder


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_deepspeed_starts_the_ranks_of_a_hostfile(tmp_path, one_process):
    (tmp_path / "hostfile").write_text("localhost slots=2\n")
    launcher = [str(Path(sys.executable).with_name("deepspeed")), "--hostfile", str(tmp_path / "hostfile")]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    options = [
        "--no_ssh_check",
        "--master_addr",
        "127.0.0.1",
        "--no_local_rank",
        "--master_port",
        free_port(),
    ]
    run([*launcher, *options, str(SCRIPT), str(tmp_path / "run"), "3", "4"], DS_ACCELERATOR="cpu", PATH=path)
    assert losses(tmp_path / "run") == pytest.approx(losses(one_process), rel=1e-6)


def test_torchrun_starts_a_machine_each(tmp_path, one_process):
    place = [
        "--nnodes",
        "2",
        "--nproc-per-node",
        "1",
        "--master-addr",
        "127.0.0.1",
        "--master-port",
        free_port(),
    ]
    machines = [
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *place, "--node-rank", str(number)]
            + [str(SCRIPT), str(tmp_path), "3", "4"],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for number in range(2)
    ]
    try:
        assert [machine.wait(PATIENCE_SECONDS) for machine in machines] == [0, 0]
    finally:
        for machine in machines:
            machine.terminate()
            machine.wait()
    assert losses(tmp_path) == pytest.approx(losses(one_process), rel=1e-6)


def test_the_example_for_slurm_is_a_script():
    script = Path(__file__).parents[2] / "configs" / "launch" / "slurm.sh"
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
