"""unimm.training.speed: what is measured, and that the shares are of it."""

from __future__ import annotations

import pytest
import torch

from unimm.dit import DDT, DiTConfig, LightningDiT
from unimm.dit.bodies import BODIES
from unimm.training.examples import example
from unimm.training.speed import (
    SpeedPlan,
    Task,
    largest_product,
    machine,
    macs_per_picture,
    measure,
    sized,
    tasks,
    with_random_weights,
)

SMALL = DiTConfig(channels=6, width=16, depth=2, heads=2, condition_width=7, grid=3, mlp_width=24)


def test_the_multiply_accumulates_of_a_small_body_by_hand():
    n, w, z, c = 9, 16, 7, 6
    linear = n * (c * w + w * c + z * 2 * w)  # embedding, final projection and modulation
    block = n * (4 * w * w + 3 * w * 24 + z * 6 * w) + 2 * n * n * w
    time = 512 * z + z * z
    assert macs_per_picture(LightningDiT(SMALL)) == linear + 2 * block + time


def test_the_yardstick_is_the_largest_product():
    body = LightningDiT(SMALL)
    assert largest_product(body, example(SMALL, 5, "cpu")) == (5 * 9, 16, 48)
    assert all(not module._forward_hooks for module in body.modules())


def test_a_share_is_the_rate_over_the_yardstick_s():
    task = Task("forward", lambda: None, flops=100, pictures=4)
    for seconds, rate in [(1.0, 200.0), (2.0, 50.0), (4.0, 100.0)]:
        task.note(seconds, rate)
    speed = task.speed()
    assert (speed.seconds, speed.pictures_per_second, speed.flops_per_second) == (2.0, 2.0, 50.0)
    assert (speed.lowest_share, speed.share, speed.highest_share) == (0.25, 0.5, 1.0)


@pytest.mark.parametrize("dtype", ["float32", "bf16"])
def test_everything_is_measured_and_told(dtype, monkeypatch):
    monkeypatch.setattr("unimm.training.speed.MIN_SECONDS", 0.005)
    told = []
    plan = SpeedPlan(batch=2, repeats=2, steps=3, dtype=dtype, clock="cpu")
    speeds = measure(LightningDiT(SMALL), plan, lambda turn, name: told.append((turn, name)))
    yardstick = "matmul 18 x 16 x 48"
    named = [yardstick, "forward", "forward and backward", "sample of 3 steps"]
    assert [speed.name for speed in speeds] == named
    assert speeds[0].share == pytest.approx(1)
    assert all(speed.seconds > 0 and speed.share > 0 for speed in speeds)
    assert {turn for turn, _ in told} == {0, 1, 2}
    assert [name for turn, name in told if turn == 1] == [
        yardstick, named[1], yardstick, named[2], yardstick, named[3], yardstick
    ]  # fmt: skip


def test_a_sample_costs_its_steps_and_a_backward_two_forwards():
    flops = {task.name: task.flops for task in tasks(LightningDiT(SMALL), SpeedPlan(batch=3, steps=7))}
    forward = flops["forward"]
    assert forward == 2 * 3 * macs_per_picture(LightningDiT(SMALL))
    assert flops["forward and backward"] == 3 * forward
    assert flops["sample of 7 steps"] == 7 * forward
    without = [task.name for task in tasks(LightningDiT(SMALL), SpeedPlan(steps=0))]
    assert without[1:] == ["forward", "forward and backward"]


def test_training_trains_every_parameter():
    body = LightningDiT(SMALL)
    step = next(t for t in tasks(body, SpeedPlan(batch=2)) if t.name == "forward and backward")
    step.run()
    unused = {"null_condition"}
    assert {name for name, p in body.named_parameters() if p.grad is None} == unused
    assert all(p.grad.abs().sum() > 0 for p in body.parameters() if p.grad is not None)


def test_weights_are_random_everywhere_and_always_the_same():
    first, second = (with_random_weights(LightningDiT(SMALL)) for _ in range(2))
    assert all((p != 0).any() for p in first.parameters())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize("kind", BODIES)
def test_a_body_of_any_kind_and_width_can_be_timed(kind):
    config = sized(kind, width=32, depth=1, heads=2, channels=4, grid=4)
    with torch.device("meta"):  # the published head is large
        body = BODIES[kind][1](config)
    assert body(*example(config, 2, "meta").arguments).shape == (2, 16, 4)
    assert isinstance(body, DDT) == (kind == "ddt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 0}, "batch: expected 1 or more, got 0"),
        ({"repeats": 0}, "repeats: expected 1 or more, got 0"),
        ({"steps": -1}, "steps: expected 0 or more, got -1"),
        ({"clock": "sun"}, "clock: expected 'wall', or on the CPU 'cpu', got 'sun'"),
        ({"dtype": "fp16"}, "dtype: expected one of float32, bf16, got 'fp16'"),
    ],
)
def test_a_plan_that_measures_nothing_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        SpeedPlan(**change)


def test_the_machine_is_named_with_the_plan():
    told = machine(SpeedPlan(batch=3, repeats=2, dtype="bf16", compile=True))
    assert torch.__version__ in told
    assert "bf16, compiled; batch 3; wall seconds, median of 2 rounds" in told
