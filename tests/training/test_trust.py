"""What makes a run trustworthy: equal twice, skipping what is no number, going on only with its own."""

from __future__ import annotations

import json
import os
import time
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from tests.training.toy import ToyStage, toy_recipe
from unimm import config
from unimm.training import checkpoint, stages
from unimm.training.identity import expect_same, identity
from unimm.training.log import MetricLog, read_metrics
from unimm.training.loop import train
from unimm.training.meter import peak_tflops
from unimm.training.stages import claim, main


class BrokenAt(ToyStage):
    """The losses of some micro-batches are no numbers."""

    def __init__(self, *numbers: int):
        super().__init__()
        self.numbers, self.count = numbers, 0

    def step(self, batch, generator):
        self.count += 1
        factor = float("nan") if self.count in self.numbers else 1.0
        return {name: value * factor for name, value in super().step(batch, generator).items()}


def saved(run, name="weights"):
    return load_file(checkpoint.latest(run) / f"{name}.safetensors")


def test_two_runs_of_one_seed_are_equal_and_of_two_seeds_are_not(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(toy_recipe(tmp_path / name, seed=seed), ToyStage())
    a, b, c = ([record["loss"] for record in read_metrics(tmp_path / name)] for name in "abc")
    assert a == b
    assert a != c
    for name in ("weights", "ema", "optimizer"):
        first, second = saved(tmp_path / "a", name), saved(tmp_path / "b", name)
        assert all(torch.equal(first[key], second[key]) for key in first)


def test_updates_without_numbers_are_skipped_counted_and_change_nothing(tmp_path):
    recipe = toy_recipe(tmp_path, 6, nonfinite="skip", log_every=1, checkpoint_every=1, keep_last=9)
    train(recipe, BrokenAt(2, 5))
    records = read_metrics(tmp_path)
    assert [record["skipped_steps"] for record in records] == [0, 1, 1, 1, 2, 2]
    assert ["loss" in record for record in records] == [True, False, True, True, False, True]
    states = [load_file(p / "weights.safetensors") for p in checkpoint.checkpoints(tmp_path)]
    same = [all(torch.equal(a[k], b[k]) for k in a) for a, b in pairwise(states)]
    assert same == [True, False, False, True, False]
    assert saved(tmp_path, "optimizer")["step/net.0.weight"] == 4
    assert checkpoint.read_state(checkpoint.latest(tmp_path))["num_ema_updates"] == 4


def test_too_many_skipped_updates_stop_the_run(tmp_path):
    with pytest.raises(FloatingPointError, match=r"step 3: expected at most skip_limit 1 updates.*got 2"):
        train(toy_recipe(tmp_path, nonfinite="skip", skip_limit=1), BrokenAt(2, 3, 4))


def test_another_seed_is_refused_with_both_values_unless_it_is_meant(tmp_path):
    train(toy_recipe(tmp_path, 2, seed=3), ToyStage())
    with pytest.raises(ValueError, match=r"seed: was 3, is 4; .*resume=changed"):
        train(toy_recipe(tmp_path, 4, seed=4), ToyStage())
    assert train(toy_recipe(tmp_path, 4, seed=4, resume="changed"), ToyStage()).finished


def test_other_data_and_another_model_are_named_and_other_settings_are_not(tmp_path):
    recipe = {"train": {"seed": 0, "num_steps": 5}, "data": {"sources": ["a", "b"]}, "model": {"width": 8}}
    other = {**recipe, "data": {"sources": ["a", "c"]}, "model": {"width": 9, "depth": 1}, "flow_weight": 3}
    with pytest.raises(ValueError, match="made of something else") as raised:
        expect_same(tmp_path, identity(recipe), identity(other))
    for told in ("data.sources: was ['a', 'b'], is ['a', 'c']", "model.width: was 8, is 9", "is 1"):
        assert told in str(raised.value)
    expect_same(tmp_path, identity(recipe), identity({**recipe, "train": {"seed": 0, "num_steps": 9}}))


def test_what_a_stage_counts_goes_on_over_the_parts_of_a_run(tmp_path):
    class Counting(ToyStage):
        found = 0

        def step(self, batch, generator):
            self.found += 2
            return super().step(batch, generator)

        def counts(self):
            return {"broken_samples": self.found}

        def amounts(self, batch):
            return {"tokens": batch["x"].numel()}

        def flops(self, batch):
            return 1e6 * len(batch["x"])

    recipe = toy_recipe(tmp_path, 12, peak_tflops=1.0)
    train(toy_recipe(tmp_path, 6, peak_tflops=1.0), Counting())
    train(recipe, Counting())
    records = read_metrics(tmp_path)
    assert [record["broken_samples"] for record in records] == [6, 12, 18, 24]
    for record in records:
        assert record["tokens_per_second"] == pytest.approx(8 * record["samples_per_second"], rel=0.01)
        assert record["mfu"] == pytest.approx(1e6 * record["samples_per_second"] / 1e12, rel=0.01)


def test_rates_are_of_the_part_of_a_run_that_measured_them(tmp_path):
    """Time before a checkpoint counts for losses' samples, and not for what was read after it."""

    class Measured(ToyStage):
        def amounts(self, batch):
            return {"tokens": batch["x"].numel()}

    train(toy_recipe(tmp_path, 3, time_limit_minutes=1e-9), Measured())
    path = checkpoint.latest(tmp_path) / "state.json"
    state = json.loads(path.read_text())
    assert state["interval_steps"] == 1
    path.write_text(json.dumps({**state, "interval_seconds": 1e6}))
    train(toy_recipe(tmp_path, 3), Measured())
    (record,) = read_metrics(tmp_path)
    assert record["samples_per_second"] < 1
    assert record["tokens_per_second"] > 1


def test_the_best_checkpoint_stays(tmp_path):
    train(toy_recipe(tmp_path, 9, checkpoint_every=3, keep_last=1, keep_best="-loss"), ToyStage())
    losses = {record["step"]: record["loss"] for record in read_metrics(tmp_path)}
    kept = {checkpoint.read_state(folder)["step"] for folder in checkpoint.checkpoints(tmp_path)}
    assert kept == {9, max(losses, key=losses.get)}


def test_a_metric_to_keep_the_best_by_must_exist_when_first_measured(tmp_path):
    stage = BrokenAt()
    with pytest.raises(ValueError, match="keep_best: expected one of .* got 'los'; did you mean 'loss'"):
        train(toy_recipe(tmp_path, keep_best="los", log_every=2, checkpoint_every=None), stage)
    assert stage.count == 2


def test_the_best_is_kept_where_a_line_of_metrics_has_no_losses(tmp_path):
    recipe = toy_recipe(tmp_path, 4, nonfinite="skip", log_every=1, checkpoint_every=1, keep_best="loss")
    assert train(recipe, BrokenAt(2)).finished


@pytest.mark.parametrize(
    ("schedule", "decays"),
    [
        ("constant", [0.9] * 3),
        ("early", [1 / 10, 2 / 11, 3 / 12]),
        ("power", [0.0, 1 - 2 ** -(2 / 3), 0.5193]),
    ],
)
def test_averages_follow_the_schedule_of_the_recipe(tmp_path, schedule, decays):
    recipe = toy_recipe(tmp_path, 3, ema_schedule=schedule, checkpoint_every=1, keep_last=3)
    stage = ToyStage()
    expected = stage.modules["net"][0].weight.detach().clone()
    train(recipe, stage)
    for folder, decay in zip(checkpoint.checkpoints(tmp_path), decays, strict=True):
        weight = load_file(folder / "weights.safetensors")["net.0.weight"]
        expected = decay * expected + (1 - decay) * weight
        found = load_file(folder / "ema.safetensors")["net.0.weight"]
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_wandb_offline_keeps_the_metrics_in_the_folder_of_the_run(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    train(toy_recipe(tmp_path / "run", 3, wandb_project="unimm"), ToyStage())
    written = list((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))
    assert len(written) == 1
    deadline = time.monotonic() + 60
    while b"grad_norm" not in written[0].read_bytes() and time.monotonic() < deadline:
        time.sleep(0.1)  # a process of wandb's own writes it
    assert b"grad_norm" in written[0].read_bytes()
    assert len(read_metrics(tmp_path / "run")) == 1


def test_runs_of_one_name_are_two_to_wandb_and_parts_of_a_run_are_one(tmp_path, monkeypatch):
    ids = []
    monkeypatch.setattr("wandb.init", lambda **given: ids.append((given["name"], given["id"])))
    for folder in ("a/run", "b/run", "a/run"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        MetricLog(tmp_path / folder, 0, "unimm")._file.close()
    assert [name for name, _ in ids] == ["run"] * 3
    assert ids[0] == ids[2] != ids[1]


def test_other_pairs_prompts_and_sizes_of_a_generator_are_other_runs(tmp_path):
    """Sections of stages that read neither sources nor rows."""
    base = {
        "train": {"seed": 0},
        "pairs": "a.jsonl",
        "prompts": {"count": 5},
        "generator": {"body": {"heads": 4}},
    }
    for name, other in (
        ("pairs", "b.jsonl"),
        ("prompts", {"count": 6}),
        ("generator", {"body": {"heads": 8}}),
    ):
        with pytest.raises(ValueError, match=rf"made of something else; {name}\S*: was "):
            expect_same(tmp_path, identity(base), identity({**base, name: other}))


def test_a_checkpoint_holds_no_pickle_and_says_what_the_run_is_made_of(tmp_path):
    train(toy_recipe(tmp_path, 2), ToyStage())
    folder = checkpoint.latest(tmp_path)
    assert {path.suffix for path in folder.iterdir()} == {".safetensors", ".json"}
    assert json.loads((folder / "state.json").read_text())["made_of"] == {"seed": 0}


def test_several_processes_without_an_engine_are_refused(tmp_path, monkeypatch):
    """Each would think that it is the only one, and all would write the same run."""
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ValueError, match=r"deepspeed: expected a section for the 4 processes .* got none"):
        train(toy_recipe(tmp_path / "run"), ToyStage())
    assert not (tmp_path / "run").exists()


def test_a_folder_belongs_to_one_stage_and_is_marked_whole_or_not_at_all(tmp_path, monkeypatch):
    """Other ranks look at the mark while the first one makes it."""
    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("killed")))
        with pytest.raises(OSError, match="killed"):
            claim(tmp_path, "joint")
    assert not (tmp_path / "stage.json").exists()
    claim(tmp_path, "joint")
    claim(tmp_path, "joint")
    with pytest.raises(ValueError, match="holds a run of the stage joint, expected one of encoder"):
        claim(tmp_path, "encoder")


def as_encoder(monkeypatch, folder, build):
    """Run the stage "encoder" of the toy, built by `build`, as `main` does."""
    recipe = SimpleNamespace(train=toy_recipe(folder, 2))
    monkeypatch.setattr(config, "load", lambda *_: recipe)
    monkeypatch.setitem(stages.STAGES, "encoder", lambda: (type(recipe), build))
    monkeypatch.setattr(stages, "train", lambda train_recipe, stage, _: train(train_recipe, stage))
    return main("encoder", ["recipe.yaml"])


def test_a_recipe_whose_data_is_missing_leaves_its_folder_to_any_stage(tmp_path, monkeypatch):
    def fails(recipe):
        raise FileNotFoundError("data: nothing at x")

    with pytest.raises(FileNotFoundError, match="nothing at x"):
        as_encoder(monkeypatch, tmp_path / "run", fails)
    assert not (tmp_path / "run").exists()
    as_encoder(monkeypatch, tmp_path / "run", lambda recipe: ToyStage())
    assert json.loads((tmp_path / "run" / "stage.json").read_text()) == {"stage": "encoder"}


def test_the_folder_of_another_stage_is_refused_before_anything_is_built(tmp_path, monkeypatch):
    """Also if it became another's while the stage was built."""
    built = []
    claim(tmp_path / "run", "joint")
    with pytest.raises(ValueError, match="holds a run of the stage joint, expected one of encoder"):
        as_encoder(monkeypatch, tmp_path / "run", built.append)
    assert built == []
    with pytest.raises(ValueError, match="holds a run of the stage joint, expected one of encoder"):
        as_encoder(monkeypatch, tmp_path / "late", lambda recipe: claim(tmp_path / "late", "joint"))


def test_ranks_but_the_first_leave_the_mark_to_it(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    claim(tmp_path, "joint")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "bf16", "float32"),
    [
        ("NVIDIA A100-SXM4-80GB", 311.8, 19.5),
        ("NVIDIA H100 80GB HBM3", 989.4, 66.9),
        ("NVIDIA H100 PCIe", 756.0, 51.2),
        ("NVIDIA GeForce RTX 4090", 165.2, 82.6),
        ("NVIDIA L40", None, None),
        ("NVIDIA RTX A1000", None, None),
    ],
)
def test_a_gpu_is_known_by_whole_words_of_its_name(monkeypatch, name, bf16, float32):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    found = [peak_tflops(torch.device("cuda"), precision) for precision in ("bf16", "float32")]
    assert found == [bf16, float32]
