"""unimm.training.loop: one stage trained, stopped, resumed and refused."""

from __future__ import annotations

import os
import resource
import signal
from contextlib import contextmanager

import pytest
import torch
from safetensors.torch import load_file

from tests.training.toy import ToyStage, toy_recipe
from unimm import config
from unimm.model.memory import spare_bytes
from unimm.training import checkpoint
from unimm.training.log import read_metrics
from unimm.training.loop import draws, train
from unimm.training.plain import PlainEngine
from unimm.training.recipe import FROZEN, Group, TrainRecipe
from unimm.training.sharding import unique_tensors

CLOCK = ("seconds", "samples_per_second")


def weights(run, name="weights"):
    return load_file(checkpoint.latest(run) / f"{name}.safetensors")


def facts(run):
    """The metrics without what a clock measured."""
    return [{key: value for key, value in record.items() if key not in CLOCK} for record in read_metrics(run)]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def unbroken(tmp_path):
    train(toy_recipe(tmp_path / "unbroken"), ToyStage())
    return tmp_path / "unbroken"


def test_the_loss_falls_and_what_is_frozen_stays(tmp_path):
    stage = ToyStage(dropout=0.0)
    before = {name: t.detach().clone() for name, t in unique_tensors(stage.modules).items()}
    result = train(
        toy_recipe(tmp_path, num_steps=150, ema_decay=None, checkpoint_every=None, log_every=25), stage
    )
    losses = [record["loss"] for record in read_metrics(tmp_path)]
    assert losses[-1] < 0.7 * losses[0]
    after = weights(tmp_path)
    assert torch.equal(after["base.weight"], before["base.weight"])
    assert not torch.equal(after["net.0.weight"], before["net.0.weight"])
    assert (result.step, result.finished, result.checkpoint.name) == (150, True, "step-00000150")


class StoppedStage(ToyStage):
    """Asks the process to stop during its n-th step."""

    def __init__(self, at: int, how: int = signal.SIGTERM):
        super().__init__()
        self.left, self.how = at, how

    def step(self, batch, generator):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.how)
        return super().step(batch, generator)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path, unbroken, how):
    broken = tmp_path / "broken"
    stopped = train(toy_recipe(broken), StoppedStage(5, how))
    assert (stopped.step, stopped.finished) == (5, False)
    assert train(toy_recipe(broken), ToyStage()).finished
    assert same(weights(broken), weights(unbroken))
    assert same(weights(broken, "ema"), weights(unbroken, "ema"))
    assert facts(broken) == facts(unbroken)
    assert len(facts(unbroken)) == 4


def test_a_crashed_run_goes_on_from_its_last_checkpoint(tmp_path, unbroken):
    class Crash(ToyStage):
        count = 0

        def step(self, batch, generator):
            self.count += 1
            if self.count == 11:
                raise RuntimeError("crash")
            return super().step(batch, generator)

    broken = tmp_path / "broken"
    with pytest.raises(RuntimeError, match="crash"):
        train(toy_recipe(broken), Crash())
    assert checkpoint.latest(broken).name == "step-00000008"
    assert facts(broken)[-1]["step"] == 9  # logged after the checkpoint: must not appear twice
    train(toy_recipe(broken), ToyStage())
    assert same(weights(broken), weights(unbroken))
    assert facts(broken) == facts(unbroken)


def test_accumulation_sees_the_samples_of_one_large_batch(tmp_path):
    """Without noise and dropout, two halves make the gradient of the whole."""

    class Quiet(ToyStage):
        def step(self, batch, generator):
            error = self.modules["net"](self.modules["base"](batch["x"])) - batch["x"].flip(-1)
            return {"loss": error.square().mean()}

    train(toy_recipe(tmp_path / "whole"), Quiet(0.0))
    train(toy_recipe(tmp_path / "halves", accumulation=2), Quiet(0.0))
    whole, halves = weights(tmp_path / "whole"), weights(tmp_path / "halves")
    for name in whole:
        torch.testing.assert_close(halves[name], whole[name], rtol=1e-3, atol=1e-5)
    for name in ("loss", "grad_norm"):
        values = ([record[name] for record in facts(tmp_path / run)] for run in ("halves", "whole"))
        assert next(values) == pytest.approx(next(values), rel=1e-4)


def test_each_step_takes_the_next_samples_once(tmp_path):
    class Recorder(ToyStage):
        def batch(self, start, count):
            seen.append((start, count))
            return super().batch(start, count)

    seen = []
    train(toy_recipe(tmp_path, num_steps=3, accumulation=2), Recorder())
    assert seen == [(0, 8), (8, 8), (16, 8), (24, 8), (32, 8), (40, 8)]


def test_prefetching_changes_nothing(tmp_path, unbroken):
    train(toy_recipe(tmp_path / "plain", prefetch=0), ToyStage())
    train(toy_recipe(tmp_path / "threads", prefetch=5, prefetch_workers=3), ToyStage())
    assert same(weights(tmp_path / "plain"), weights(unbroken))
    assert same(weights(tmp_path / "threads"), weights(unbroken))


def test_a_time_limit_stops_with_a_checkpoint(tmp_path):
    result = train(toy_recipe(tmp_path, time_limit_minutes=1e-9), ToyStage())
    assert (result.step, result.finished, result.checkpoint.name) == (1, False, "step-00000001")


@pytest.mark.parametrize(
    ("changes", "asked", "saves"),
    [
        ({"checkpoint_every": 2}, 6, [2, 4, 6]),
        ({"checkpoint_every": 2, "checkpoint_minutes": 60.0}, 6 + 3, [2, 4, 6]),
        ({"checkpoint_every": None, "checkpoint_minutes": 1e-9}, 6 + 6, [1, 2, 3, 4, 5, 6]),
    ],
)
def test_ranks_agree_only_on_what_they_may_see_otherwise(tmp_path, monkeypatch, changes, asked, saves):
    """Whether to stop, in every step, and whether it is time to save; all of them count the same steps."""
    flags = []
    monkeypatch.setattr(PlainEngine, "agree", lambda self, flag: flags.append(flag) or flag)
    train(toy_recipe(tmp_path, 6, keep_last=9, **changes), ToyStage())
    assert len(flags) == asked
    assert [checkpoint.read_state(folder)["step"] for folder in checkpoint.checkpoints(tmp_path)] == saves


def test_pictures_are_drawn_in_as_many_passes_on_every_rank(tmp_path, monkeypatch):
    """However much memory its device has free: ranks that share a model's pieces wait for each other."""

    class Painter(ToyStage):
        def sample(self, folder, step):
            budgets.append(spare_bytes(torch.device("cuda")))

    budgets = []
    for name, value in {"memory_reserved": 0, "memory_allocated": 0, "mem_get_info": (8, 16)}.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    train(toy_recipe(tmp_path, sample_every=12), Painter())
    assert budgets == [spare_bytes(torch.device("cpu"))]
    assert spare_bytes(torch.device("cuda")) == 4


def test_pictures_are_drawn_with_averages_and_leave_no_trace(tmp_path, unbroken):
    class Painter(ToyStage):
        def sample(self, folder, step):
            super().sample(folder, step)
            assert not self.modules["net"].training
            torch.randn(100)  # global draws in a hook must not move the training
            drawn.append(self.modules["net"][0].weight.clone())

    drawn = []
    stage = Painter()
    train(toy_recipe(tmp_path / "painted", sample_every=5), stage)
    assert stage.sampled == [5, 10, 12]
    assert len(list((tmp_path / "painted" / "samples").iterdir())) == 3
    assert stage.modules["net"].training
    assert not stage.modules["base"].training
    assert torch.equal(drawn[-1], weights(tmp_path / "painted", "ema")["net.0.weight"])
    assert same(weights(tmp_path / "painted"), weights(unbroken))


def test_bf16_computes_in_bf16_and_keeps_float32_weights(tmp_path):
    class Typed(ToyStage):
        def step(self, batch, generator):
            dtypes.add(self.modules["net"](batch["x"]).dtype)
            return super().step(batch, generator)

    dtypes = set()
    train(toy_recipe(tmp_path, num_steps=1, precision="bf16"), Typed())
    assert dtypes == {torch.bfloat16}
    assert {t.dtype for t in weights(tmp_path).values()} == {torch.float32}


def test_the_run_holds_its_resolved_config_and_keeps_former_ones(tmp_path):
    train(toy_recipe(tmp_path, num_steps=4), ToyStage())
    train(toy_recipe(tmp_path, num_steps=6), ToyStage())
    assert config.load(TrainRecipe, tmp_path / "config.yaml").num_steps == 6
    assert config.load(TrainRecipe, tmp_path / "config-until-step-00000004.yaml").num_steps == 4


@pytest.mark.parametrize(
    ("bad", "noticed"), [(6, "step 6"), (7, "step 8")]
)  # by the log; before a checkpoint
def test_a_loss_that_is_no_number_stops_the_run_before_it_is_saved(tmp_path, bad, noticed):
    class Broken(ToyStage):
        count = 0

        def step(self, batch, generator):
            self.count += 1
            factor = float("nan") if self.count == bad else 1.0
            return {name: value * factor for name, value in super().step(batch, generator).items()}

    with pytest.raises(FloatingPointError, match=rf"{noticed}.*last checkpoint is .*step-00000004"):
        train(toy_recipe(tmp_path), Broken())
    assert checkpoint.latest(tmp_path).name == "step-00000004"


def test_resuming_is_refused_or_demanded_on_request(tmp_path):
    with pytest.raises(ValueError, match="expected a checkpoint"):
        train(toy_recipe(tmp_path, resume="must"), ToyStage())
    train(toy_recipe(tmp_path, num_steps=2), ToyStage())
    with pytest.raises(ValueError, match="already holds step-00000002"):
        train(toy_recipe(tmp_path, resume="never"), ToyStage())


def test_a_checkpoint_of_other_modules_is_refused(tmp_path):
    train(toy_recipe(tmp_path, num_steps=2), ToyStage())
    other = ToyStage()
    other.modules = {"net": other.modules["net"], "base": torch.nn.Linear(8, 8, bias=False)}
    with pytest.raises(ValueError, match=r"missing nothing, unexpected \['base.bias'\]"):
        train(toy_recipe(tmp_path), other)
    wide = ToyStage(groups={"net": Group(), "base": FROZEN})
    wide.modules["net"][3] = torch.nn.Linear(32, 9)
    with pytest.raises(ValueError, match=r"net.3.weight: expected shape \(9, 32\), got \(8, 32\)"):
        train(toy_recipe(tmp_path), wide)


@contextmanager
def files_no_larger_than(num_bytes):
    """Writes beyond this fail as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("num_bytes", [1500, 3500])  # too small for weights; for the optimiser
def test_a_full_disk_keeps_the_previous_checkpoint(tmp_path, num_bytes):
    train(toy_recipe(tmp_path, num_steps=2), ToyStage())
    before = {p.name: p.read_bytes() for p in checkpoint.latest(tmp_path).iterdir()}
    small = [name for name, data in before.items() if len(data) > num_bytes]
    assert small, "the limit must be smaller than some file"
    with (
        files_no_larger_than(num_bytes),
        pytest.raises(OSError, match=r"could not save .*step-00000002 is intact"),
    ):
        train(toy_recipe(tmp_path, num_steps=4), ToyStage())
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000002"]
    assert {p.name: p.read_bytes() for p in checkpoint.latest(tmp_path).iterdir()} == before
    assert train(toy_recipe(tmp_path, num_steps=4), ToyStage()).finished


def test_only_the_last_checkpoints_are_kept(tmp_path):
    train(toy_recipe(tmp_path, num_steps=9, checkpoint_every=2, keep_last=2), ToyStage())
    assert [p.name for p in checkpoint.checkpoints(tmp_path)] == ["step-00000008", "step-00000009"]


def test_draws_depend_on_seed_and_position_only():
    cpu = torch.device("cpu")
    first = torch.randn(4, generator=draws(0, 16, cpu))
    dropout = torch.rand(4)
    torch.rand(7)
    assert torch.equal(torch.randn(4, generator=draws(0, 16, cpu)), first)
    assert torch.equal(torch.rand(4), dropout)
    assert not torch.equal(torch.randn(4, generator=draws(0, 17, cpu)), first)
    assert not torch.equal(torch.randn(4, generator=draws(1, 16, cpu)), first)


def test_a_compiled_run_agrees_with_an_eager_one(tmp_path):
    class Compiled(ToyStage):
        calls = 0

        def compile(self):
            Compiled.calls += 1
            self.modules["net"].compile(backend="eager")

    train(toy_recipe(tmp_path / "eager", num_steps=3), ToyStage(0.0))
    train(toy_recipe(tmp_path / "compiled", num_steps=3, compile=True), Compiled(0.0))
    assert Compiled.calls == 1
    assert same(weights(tmp_path / "eager"), weights(tmp_path / "compiled"))
