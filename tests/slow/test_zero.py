"""Ranks under DeepSpeed train what one process trains; what some began, others finish."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

from tests.slow.launching import launch, losses, saved
from tests.training.toy import ToyStage, toy_recipe
from unimm.training import checkpoint
from unimm.training.log import read_metrics
from unimm.training.loop import train

pytestmark = pytest.mark.slow


def pictures(run: Path) -> list[torch.Tensor]:
    return [
        torch.tensor(ast.literal_eval(path.read_text())) for path in sorted((run / "samples").glob("*.txt"))
    ]


def alone(run: Path, num_steps: int = 8, **changes) -> Path:
    """One process with two accumulations sees what two ranks see, and draws their noise."""
    train(toy_recipe(run, num_steps, accumulation=2, **changes), ToyStage())
    return run


@pytest.fixture(scope="module")
def one_process(tmp_path_factory) -> Path:
    return alone(tmp_path_factory.mktemp("one"))


def expect_equal(run: Path, one: Path) -> None:
    assert losses(run) == pytest.approx(losses(one), rel=1e-6)
    for name in ("weights", "ema", "optimizer"):
        expected, got = saved(one, name), saved(run, name)
        assert expected.keys() == got.keys()
        for key in expected:
            torch.testing.assert_close(got[key], expected[key], rtol=1e-4, atol=1e-6, msg=f"{name}: {key}")


@pytest.mark.parametrize("zero_stage", [3, 2, 0])
def test_what_two_ranks_began_one_process_finishes(tmp_path, one_process, zero_stage):
    launch(tmp_path, zero_stage, 8, "stop_after=5")
    assert [p.name for p in checkpoint.checkpoints(tmp_path)][-1] == "step-00000005"
    expect_equal(alone(tmp_path), one_process)


@pytest.mark.parametrize("zero_stage", [3, 1])
def test_what_one_process_began_two_ranks_finish(tmp_path, one_process, zero_stage):
    train(toy_recipe(tmp_path, 8, accumulation=2, time_limit_minutes=1e-9), ToyStage())
    printed = launch(tmp_path, zero_stage, 8)
    assert "going on from step-00000001" in printed
    assert "deprecated" not in printed
    expect_equal(tmp_path, one_process)


def test_ranks_killed_without_warning_go_on_to_the_same_numbers(tmp_path, one_process):
    """Killed while rank 1 computes step 6; its parameters and its optimiser rest on the host."""
    offload = ("offload_optimizer=true", "offload_parameters=true")
    with pytest.raises(AssertionError, match=r"exitcode *: -9|Signal 9"):
        launch(tmp_path, 3, 8, "kill_at=6", *offload)
    assert checkpoint.latest(tmp_path).name == "step-00000004"
    launch(tmp_path, 3, 8, *offload)
    expect_equal(tmp_path, one_process)


def test_three_ranks_and_pieces_of_no_round_size_draw_and_average_as_one(tmp_path):
    """A picture midway shows the averages, and leaves the training as it was."""
    settings = {"batch_size": 12, "sample_every": 2, "ema_schedule": "constant"}
    train(toy_recipe(tmp_path / "one", 4, accumulation=3, **settings), ToyStage())
    changes = [f"{name}={value}" for name, value in settings.items()]
    launch(tmp_path / "three", 3, 4, *changes, ranks=3)
    expect_equal(tmp_path / "three", tmp_path / "one")
    ours = pictures(tmp_path / "three")
    assert len(ours) == 2
    shown = ToyStage(0.0)
    shown.modules["net"].load_state_dict(
        {key.removeprefix("net."): x for key, x in saved(tmp_path / "one", "ema").items()}
    )
    torch.testing.assert_close(ours[-1], shown.modules["net"](torch.eye(8)).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("zero_stage", [3, 2])
def test_an_update_that_is_no_number_on_one_rank_is_skipped_by_all(tmp_path, zero_stage):
    """Without noise in between the skipped step, the run is one that saw other samples: only counts agree."""
    launch(tmp_path, zero_stage, 6, "nonfinite=skip", "nan_at=3", "ema_decay=null", "log_every=1")
    records = read_metrics(tmp_path)
    assert [record["skipped_steps"] for record in records] == [0, 0, 1, 1, 1, 1]
    assert ["loss" in record for record in records] == [True, True, False, True, True, True]
    assert saved(tmp_path, "optimizer")["step/net.0.weight"] == 5
    assert all(torch.isfinite(x).all() for x in saved(tmp_path).values())


def test_accumulation_under_ranks_agrees_with_one_process(tmp_path):
    train(toy_recipe(tmp_path / "one", num_steps=4, accumulation=4), ToyStage())
    launch(tmp_path / "two", 3, 4, "accumulation=2")
    expect_equal(tmp_path / "two", tmp_path / "one")


def test_a_rank_that_cannot_write_stops_all_and_keeps_the_previous_checkpoint(tmp_path):
    launch(tmp_path, 3, 2)
    with pytest.raises(AssertionError, match=r"could not save .* step 4.*step-00000002 is intact"):
        launch(tmp_path, 3, 4, "largest_file=1500")
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000002"]
