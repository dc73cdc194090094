"""The one loop. It knows steps, positions, time and files; a stage knows the losses, an engine the device.

Everything random is a function of (seed, position): a batch by the stage's promise, the draws of a
micro-batch by the generator it is given. So a run that was killed and resumed ends with the bits of one that
was not.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from unimm import config as config_file
from unimm.model.memory import passes_alike
from unimm.training import checkpoint
from unimm.training.identity import expect_same, identity
from unimm.training.log import MetricLog
from unimm.training.meter import Meter
from unimm.training.optim import lr_factor
from unimm.training.plain import PlainEngine, set_modes
from unimm.training.prefetch import prefetch
from unimm.training.progress import Reporter
from unimm.training.ranks import expect_engine
from unimm.training.recipe import TrainRecipe
from unimm.training.signals import stop_signals
from unimm.training.stage import (
    Stage,
    counts_hook,
    describe_hook,
    sample_hook,
    samples_folder,
    to_device,
    update_hook,
)
from unimm.training.state import State


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    step: int
    finished: bool  # False: stopped by the time limit or a signal; run it again to go on
    checkpoint: Path


def train(recipe: TrainRecipe, stage: Stage, config: Any = None) -> Result:
    """Run, or go on with, the run in `recipe.output`.

    Args:
        config: the dataclass written as the run's config.yaml; by default the recipe.

    Raises:
        ValueError: the recipe contradicts itself, the stage or the folder.
        FloatingPointError: the loss or the gradient is no longer a number; no checkpoint is written then.
        OSError: a checkpoint could not be written; earlier ones are intact.
    """
    expect_engine(recipe)
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    run, config = Path(recipe.output), config or recipe
    found = _found_checkpoint(recipe, run)
    if found is not None and recipe.resume != "changed":
        made_of = checkpoint.read_state(found).get("made_of")
        expect_same(found, made_of, identity(config_file.to_dict(config)))
    engine = _engine(recipe, stage)
    try:
        result = _Loop(recipe, stage, engine, run, found, config).run_all()
        engine.finish()
        return result
    except Exception as error:
        engine.explain(error)
        raise
    finally:
        engine.close()


def _engine(recipe: TrainRecipe, stage: Stage):
    if recipe.deepspeed is None:
        return PlainEngine(recipe, stage)
    from unimm.training.engine import DeepSpeedEngine  # deepspeed is an extra

    return DeepSpeedEngine(recipe, stage)


def _found_checkpoint(recipe: TrainRecipe, run: Path) -> Path | None:
    found = checkpoint.latest(run)
    if found and recipe.resume == "never":
        raise ValueError(
            f"output: {run} already holds {found.name}; use resume=auto to go on, or another folder"
        )
    if not found and recipe.resume == "must":
        raise ValueError(
            f"output: expected a checkpoint in {run / 'checkpoints'}, found none; use resume=auto"
        )
    return found


class _Loop:
    """The steps, and what happens between them."""

    def __init__(self, recipe: TrainRecipe, stage: Stage, engine, run: Path, found: Path | None, config: Any):
        self.recipe, self.stage, self.engine, self.run = recipe, stage, engine, run
        self.micro_batch = recipe.micro_batch(engine.world)
        self.state, self.saved_step, self.metrics = State(), -1, {}
        if found is not None:
            saved = checkpoint.read_state(found)
            engine.load(found, saved)
            self.state = State.of(saved)
            self.saved_step, self.metrics = self.state.step, saved.get("metrics") or {}
        self.norm, self.earlier_counts = torch.zeros(()), dict(self.state.counts)
        self.made_of = identity(config_file.to_dict(config))
        self.keep = checkpoint.Keep(recipe.keep_last, recipe.keep_best)
        self.meter = Meter(recipe, stage, engine.device)
        is_first = engine.rank == 0
        self.reporter = Reporter(recipe.num_steps, is_first)
        self.log = self._open(config, found) if is_first else None

    def _open(self, config: Any, found: Path | None) -> MetricLog:
        self.run.mkdir(parents=True, exist_ok=True)
        describe_hook(self.stage)(self.run)  # first, as it may refuse the folder
        path = self.run / "config.yaml"
        if found is not None and path.exists():  # settings may change between two parts of a run: keep both
            path.replace(self.run / f"config-until-step-{self.state.step:08d}.yaml")
        config_file.save(config, path)
        self.reporter.say(f"{self.run}: " + (f"going on from {found.name}" if found else "starting"))
        return MetricLog(self.run, self.state.step, self.recipe.wandb_project, config_file.to_dict(config))

    def run_all(self) -> Result:
        recipe, state = self.recipe, self.state
        began = self.mark = self.saved_time = time.monotonic()
        stopped = False
        batches = prefetch(self._batch, self._starts(), recipe.prefetch, recipe.prefetch_workers)
        try:
            with stop_signals() as signalled:
                while state.step < recipe.num_steps and not stopped:
                    self._update(batches)
                    self._between_steps()
                    minutes = (time.monotonic() - began) / 60
                    over = recipe.time_limit_minutes is not None and minutes >= recipe.time_limit_minutes
                    stopped = self.engine.agree(signalled.is_set() or over)
            if self.saved_step != state.step:
                self._save()
            finished = state.step >= recipe.num_steps
            ending = "finished" if finished else f"stopped at step {state.step}; run it again to go on"
            self.reporter.say(f"{self.run}: {ending}")
            return Result(state.step, finished, checkpoint.latest(self.run))
        finally:
            batches.close()
            self.reporter.close()
            if self.log is not None:
                self.log.close()

    def _starts(self) -> Iterator[int]:
        """First positions of this rank's micro-batches; ranks share an update as accumulations do."""
        position = self.state.samples
        for _ in range(self.state.step, self.recipe.num_steps):
            for micro in range(self.recipe.accumulation):
                yield position + (self.engine.rank * self.recipe.accumulation + micro) * self.micro_batch
            position += self.recipe.batch_size

    def _batch(self, start: int) -> tuple[int, Any]:
        return start, self.stage.batch(start, self.micro_batch)

    def _update(self, batches: Iterator[tuple[int, Any]]) -> None:
        recipe, state, engine = self.recipe, self.state, self.engine
        sums: dict[str, Any] = {}
        finish, seen = update_hook(self.stage), []
        for _ in range(recipe.accumulation):
            start, batch = next(batches)
            self.meter.add(batch)
            batch, generator = to_device(batch, engine.device), draws(recipe.seed, start, engine.device)
            losses = self._losses(start, batch, generator)
            engine.backward(losses["loss"])
            if finish is not None:
                seen.append((batch, generator))
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value.detach().double() / recipe.accumulation
        refused = recipe.nonfinite == "skip" and not all(math.isfinite(value) for value in sums.values())
        norm = engine.step(lr_factor(state.step, recipe.num_steps, recipe.optim), refused)
        if norm is None:
            state.advance(recipe.batch_size, None)
            self._check_skipped()
        else:
            self.norm = norm
            if finish is not None:
                sums |= {name: value.detach().double() for name, value in finish(seen).items()}
            state.advance(recipe.batch_size, sums)
        now = time.monotonic()
        state.add_seconds(now - self.mark)
        self.meter.seconds += now - self.mark
        self.mark = now

    def _check_skipped(self) -> None:
        if self.state.skipped > self.recipe.skip_limit:
            raise FloatingPointError(
                f"step {self.state.step}: expected at most skip_limit {self.recipe.skip_limit} updates "
                f"without finite losses and gradients, got {self.state.skipped}; the last checkpoint is "
                f"{checkpoint.latest(self.run)}; lower optim.lr, or look at the batches"
            )

    def _losses(self, start: int, batch: Any, generator: torch.Generator) -> dict[str, torch.Tensor]:
        try:
            return self.engine.losses(batch, generator)
        except FloatingPointError as error:  # a stage that looks for itself knows where it happened
            raise FloatingPointError(
                f"step {self.state.step + 1}: {error}; the last checkpoint is {checkpoint.latest(self.run)}; "
                f"lower optim.lr, or look at the batch from position {start} on"
            ) from error

    def _between_steps(self) -> None:
        recipe, step = self.recipe, self.state.step
        self.reporter.advance(step)
        if step % recipe.log_every == 0 or step == recipe.num_steps:
            self._log()
        if recipe.sample_every and (step % recipe.sample_every == 0 or step == recipe.num_steps):
            self._sample()
        by_steps = recipe.checkpoint_every and step % recipe.checkpoint_every == 0
        if by_steps or self._by_minutes():
            self._save()
        self.mark = time.monotonic()

    def _by_minutes(self) -> bool:
        """Whether the time for a checkpoint has come: ranks have clocks of their own, so they agree on it."""
        minutes, since = self.recipe.checkpoint_minutes, (time.monotonic() - self.saved_time) / 60
        return minutes is not None and self.engine.agree(since >= minutes)

    def _finite_sums(self) -> dict[str, float]:
        sums = self.engine.mean({name: float(value) for name, value in self.state.sums.items()})
        if not all(map(math.isfinite, [*sums.values(), float(self.norm)])):
            found = f"sums {sums}, norm {float(self.norm)}"
            raise FloatingPointError(
                f"step {self.state.step}: expected finite losses and gradient, got {found}; "
                f"the last checkpoint is {checkpoint.latest(self.run)}; "
                "lower optim.lr, or look at the batches since then"
            )
        return sums

    def _log(self) -> None:
        state, recipe, world = self.state, self.recipe, self.engine.world
        losses = state.means(self._finite_sums())
        seconds = max(state.interval_seconds, 1e-9)
        self.metrics = {
            "step": state.step,
            "samples": state.samples,
            "seconds": round(state.seconds, 3),
            "samples_per_second": round(state.interval_steps * recipe.batch_size / seconds, 2),
            **self.meter.rates(self.engine.mean, world),
            **losses,
            "lr": recipe.optim.lr * lr_factor(state.step - 1, recipe.num_steps, recipe.optim),
            "grad_norm": float(self.norm),
            **({"skipped_steps": state.skipped} if recipe.nonfinite == "skip" else {}),
            **self._counts(),
        }
        if losses:  # on every rank, and before anything is lost
            self.keep.check(self.metrics)
        seconds_left = (recipe.num_steps - state.step) * state.interval_seconds / state.interval_steps
        state.begin_interval()
        if self.log is not None:
            self.log.write(self.metrics)
        self.reporter.record(self.metrics, seconds_left)

    def _counts(self) -> dict[str, float]:
        """What the stage counts, such as broken samples: over all ranks and all parts of the run."""
        found = self.engine.mean({name: float(x) for name, x in counts_hook(self.stage)().items()})
        here = {name: round(x * self.engine.world) for name, x in found.items()}
        self.state.counts = {name: self.earlier_counts.get(name, 0) + x for name, x in here.items()}
        return self.state.counts

    def _sample(self) -> None:
        sample, first = sample_hook(self.stage), self.engine.rank == 0
        if sample is None or not (first or self.engine.draws_together):
            return
        with self.engine.averaged(), torch.no_grad(), passes_alike(), TemporaryDirectory() as elsewhere:
            for module in self.stage.modules.values():
                module.eval()
            try:  # where all ranks must draw, so that weights come together, one keeps what it drew
                sample(samples_folder(self.run) if first else Path(elsewhere), self.state.step)
            finally:
                set_modes(self.stage)

    def _save(self) -> None:
        self.state.sums = self._finite_sums()
        state = {**asdict(self.state), "metrics": self.metrics, "made_of": self.made_of}
        self.engine.write_checkpoint(self.run, self.state.step, state, self.keep)
        self.saved_step, self.saved_time = self.state.step, time.monotonic()


def draws(seed: int, start: int, device: torch.device) -> torch.Generator:
    """The generator of the micro-batch at `start`; torch's global one (for dropout) is set alike."""
    number = int.from_bytes(hashlib.sha256(f"{seed} {start}".encode()).digest()[:7], "little")
    torch.manual_seed(number)
    return torch.Generator(device).manual_seed(number)
