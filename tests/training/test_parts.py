"""The small parts of training: recipe, metrics, checkpoints, prefetch, progress, grids, DeepSpeed's JSON."""

from __future__ import annotations

import builtins
import json
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.training.toy import toy_recipe
from unimm.training import checkpoint, saving
from unimm.training.engine import deepspeed_config
from unimm.training.log import MetricLog, read_metrics
from unimm.training.pictures import grid, save_grid
from unimm.training.plain import load_weights
from unimm.training.prefetch import prefetch
from unimm.training.progress import clock, describe
from unimm.training.recipe import DeepSpeedRecipe, OptimRecipe
from unimm.training.sharding import unique_tensors
from unimm.training.stage import to_device


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_steps": 0}, "num_steps: expected a number above 0, got 0"),
        ({"accumulation": 3}, r"batch_size: expected a multiple of accumulation 3, got 16"),
        ({"ema_decay": 1.0}, "ema_decay: expected a number between 0 and 1"),
        ({"time_limit_minutes": -1.0}, "time_limit_minutes: expected a number above 0"),
        ({"deepspeed": DeepSpeedRecipe(3), "compile": True}, "compile: expected false under .* got True"),
    ],
)
def test_a_recipe_that_contradicts_itself_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        toy_recipe("run", **changes)
    with pytest.raises(ValueError, match="lr: expected a number above 0"):
        OptimRecipe(lr=0.0)


def test_the_deepspeed_json_is_derived_from_the_recipe():
    recipe = toy_recipe("run", accumulation=2, ema_decay=None, deepspeed=DeepSpeedRecipe(2))
    derived = deepspeed_config(recipe, world=4)
    assert derived["train_batch_size"] == 16
    assert derived["train_micro_batch_size_per_gpu"] * derived["gradient_accumulation_steps"] * 4 == 16
    assert derived["zero_optimization"] == {"stage": 2}
    assert derived["gradient_clipping"] == recipe.optim.clip
    json.dumps(derived)


def test_metrics_after_the_resumed_step_and_torn_lines_are_dropped(tmp_path):
    log = MetricLog(tmp_path, step=0)
    for step in (2, 4, 6):
        log.write({"step": step, "loss": 1 / step})
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')
    assert [r["step"] for r in read_metrics(tmp_path)] == [2, 4, 6]
    log = MetricLog(tmp_path, step=4)
    log.write({"step": 6, "loss": 0.5})
    log.close()
    assert [(r["step"], r["loss"]) for r in read_metrics(tmp_path)] == [(2, 0.5), (4, 0.25), (6, 0.5)]


def test_wandb_that_is_asked_for_and_absent_is_a_named_error(tmp_path, monkeypatch):
    real = builtins.__import__

    def without_wandb(name, *rest, **more):
        if name == "wandb":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without_wandb)
    with pytest.raises(ValueError, match="wandb, which is not installed"):
        MetricLog(tmp_path, 0, wandb_project="unimm")


class Writer:
    """Saves a state and nothing else, or fails at it."""

    rank = 0
    contents, facts = dict, dict

    def __init__(self, fails=False):
        self.fails = fails

    def together(self, act, report):
        act()
        if self.fails:
            raise report(OSError(28, "No space left on device"))


def save(run, step, keep, fails=False, **metrics):
    saving.save(Writer(fails), run, step, {"metrics": metrics}, keep)


def test_a_checkpoint_is_whole_or_absent(tmp_path):
    keep = checkpoint.Keep(1)
    save(tmp_path, 1, keep)
    with pytest.raises(OSError, match=r"step 2 .*No space left on device.*step-00000001 is intact"):
        save(tmp_path, 2, keep, fails=True)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]
    with pytest.raises(OSError, match="there was none before it"):
        save(tmp_path / "new", 2, keep, fails=True)


@pytest.mark.parametrize(("best", "kept"), [(None, [5]), ("loss", [2, 5]), ("-loss", [1, 5])])
def test_the_best_checkpoint_is_kept_beside_the_last(tmp_path, best, kept):
    for step, loss in enumerate([3.0, 1.0, 2.0, 1.0, 2.0], 1):
        save(tmp_path, step, checkpoint.Keep(1, best), loss=loss)
    assert [checkpoint.checkpoints(tmp_path)[i].name for i in range(len(kept))] == [
        f"step-{step:08d}" for step in kept
    ]
    assert len(checkpoint.checkpoints(tmp_path)) == len(kept)


def test_a_metric_that_there_is_not_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"keep_best: expected one of .*got 'los'; did you mean 'loss'"):
        checkpoint.Keep(1, "los").check({"loss": 1.0})


def test_a_checkpoint_without_the_metric_is_not_the_best(tmp_path):
    """All updates since the last line of metrics may have been skipped."""
    keep = checkpoint.Keep(1, "-accuracy")
    for step, metrics in enumerate([{"accuracy": 0.5}, {}, {"accuracy": 0.4}], 1):
        save(tmp_path, step, keep, **metrics)
    assert [p.name for p in checkpoint.checkpoints(tmp_path)] == ["step-00000001", "step-00000003"]


def test_what_a_killed_process_left_goes_with_the_next_checkpoint(tmp_path):
    """Where checkpoints are made by the clock, the next is one of another step."""
    for left in (".partial-00000007", ".partial-step-00000001"):
        (tmp_path / "checkpoints" / left).mkdir(parents=True)
        (tmp_path / "checkpoints" / left / "weights.safetensors").write_bytes(b"half")
    save(tmp_path, 9, checkpoint.Keep(1))
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000009"]


def test_a_checkpoint_that_is_being_removed_is_none(tmp_path, monkeypatch):
    save(tmp_path, 1, checkpoint.Keep(1))

    def killed(folder, **_):
        if checkpoint.PREFIX in folder.name:
            (folder / "weights.safetensors").unlink(missing_ok=True)
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 2, checkpoint.Keep(1))
    assert [p.name for p in checkpoint.checkpoints(tmp_path)] == ["step-00000002"]


def test_a_checkpoint_that_lacks_its_last_file_is_no_checkpoint(tmp_path):
    (tmp_path / "checkpoints" / "step-00000005").mkdir(parents=True)
    assert checkpoint.latest(tmp_path) is None


def test_tied_tensors_are_saved_once_and_both_are_restored(tmp_path):
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    modules = {"net": net}
    assert list(unique_tensors(modules)) == ["net.0.weight", "net.0.bias", "net.1.bias"]
    save_file({n: x.detach() for n, x in unique_tensors(modules).items()}, tmp_path / "w.safetensors")
    kept = net[0].weight.detach().clone()
    nn.init.zeros_(net[0].weight)
    load_weights(SimpleNamespace(modules=modules), tmp_path / "w.safetensors")
    assert torch.equal(net[1].weight, kept)


def test_averages_replace_what_trained(tmp_path):
    save_file({"a.w": torch.zeros(2), "b.w": torch.zeros(2)}, tmp_path / "weights.safetensors")
    assert checkpoint.averaged_state(tmp_path)["a.w"].tolist() == [0, 0]
    save_file({"a.w": torch.ones(2)}, tmp_path / "ema.safetensors")
    state = checkpoint.averaged_state(tmp_path)
    assert (state["a.w"].tolist(), state["b.w"].tolist()) == ([1, 1], [0, 0])


@pytest.mark.parametrize(("ahead", "workers"), [(0, 1), (1, 1), (3, 2)])
def test_batches_come_in_order_and_errors_where_they_belong(ahead, workers):
    def make(key):
        if key == 4:
            raise KeyError("batch 4")
        return key * 10

    batches = prefetch(make, range(10), ahead, workers)
    assert [next(batches) for _ in range(4)] == [0, 10, 20, 30]
    with pytest.raises(KeyError, match="batch 4"):
        next(batches)


def test_a_closed_prefetch_leaves_no_thread():
    batches = prefetch(lambda key: key, range(100), 4, 2)
    assert next(batches) == 0
    batches.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("batch")]


def test_a_line_of_progress_says_losses_rate_and_time_left():
    clocks = {"step": 3, "samples": 9, "seconds": 1.0, "samples_per_second": 12.0}
    record = {**clocks, "loss": 0.5, "lr": 1e-3, "grad_norm": 2}
    assert describe(record, 3661.0) == "1:01:01 left  12.0 samples/s  loss 0.5  |g| 2  lr 1.00e-03"
    assert clock(59.6) == "0:01:00"


def test_a_grid_puts_pictures_in_reading_order(tmp_path):
    pixels = torch.stack([torch.full((3, 4, 5), value) for value in (0.0, 0.5, 2.0, 0.2, 0.4)])
    sheet = np.asarray(grid(pixels, columns=3, gap=2))
    assert sheet.shape == (2 * 4 + 2, 3 * 5 + 2 * 2, 3)
    assert [int(sheet[0, x, 0]) for x in (0, 7, 14)] == [0, 128, 255]
    assert [int(sheet[6, x, 0]) for x in (0, 7, 14)] == [51, 102, 255]
    assert int(sheet[4, 0, 0]) == 255
    assert save_grid(pixels, tmp_path, step=7, columns=5).name == "grid-00000007.png"
    assert [p.name for p in tmp_path.iterdir()] == ["grid-00000007.png"]
    with pytest.raises(ValueError, match=r"expected \[B 3 H W\]"):
        grid(torch.zeros(2, 4, 5, 3), columns=2)


def test_every_tensor_of_a_batch_moves():
    class Record:
        def to(self, device):
            return f"record on {device}"

    device = torch.device("meta")
    batch = {"a": torch.zeros(1), "b": [torch.zeros(2), (torch.zeros(3), "text")], "c": Record()}
    moved = to_device(batch, device)
    assert moved["a"].is_meta
    assert moved["b"][1][0].is_meta
    assert (moved["b"][1][1], moved["c"]) == ("text", "record on meta")
