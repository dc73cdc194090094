"""What a training run is: dataclasses that a YAML file fills. A stage's own recipe holds a `TrainRecipe`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Precision = Literal["bf16", "float32"]


@dataclass(frozen=True)
class Group:
    """How the parameters under one name are trained. A stage's table `{name: Group}` says who is frozen."""

    lr_scale: float = 1.0  # times `OptimRecipe.lr`; 0 freezes
    optimizer: Literal["adamw", "muon"] = "adamw"  # muon takes the 2-D weights of the group, adamw the rest
    betas: tuple[float, float] | None = None  # of adamw; null: `OptimRecipe.betas`

    def __post_init__(self):
        if self.lr_scale < 0:
            raise ValueError(f"lr_scale: expected 0 (frozen) or more, got {self.lr_scale}")


FROZEN = Group(lr_scale=0.0)


@dataclass(frozen=True)
class OptimRecipe:
    """AdamW, with Muon for the groups that ask for it; one learning rate, one schedule."""

    lr: float  # peak, e.g. 1e-3 for small models
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.0  # on tensors of two dimensions and more; never on biases and gains
    warmup_steps: int = 0  # linear from 0 to lr
    schedule: Literal["cosine", "linear", "constant"] = "constant"  # after the warm-up and hold_steps
    hold_steps: int = 0  # at lr, before cosine or linear begins to fall; RAE's DiT: 40 of 1400 epochs
    decay_steps: int | None = None  # that the fall takes, flat afterwards; null falls until the last step
    final_fraction: float = 0.0  # of lr, where cosine or linear ends
    clip: float | None = 1.0  # largest norm of the whole gradient; null clips nothing
    muon_momentum: float = 0.95

    def __post_init__(self):
        _positive("lr", self.lr)
        if not 0 <= self.final_fraction <= 1:
            raise ValueError(f"final_fraction: expected a number in [0, 1], got {self.final_fraction}")
        for name in ("warmup_steps", "hold_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected 0 or more, got {getattr(self, name)}")
        if self.decay_steps is not None:
            _positive("decay_steps", self.decay_steps)
        if self.schedule == "constant" and (self.hold_steps or self.decay_steps):
            raise ValueError(
                "schedule: hold_steps and decay_steps say when the rate falls, and constant never does; "
                "choose cosine or linear, or leave them out"
            )
        if self.clip is not None:
            _positive("clip", self.clip)


@dataclass(frozen=True)
class DeepSpeedRecipe:
    """What the DeepSpeed engine needs beyond the rest of the recipe; its JSON is derived, never written."""

    zero_stage: Literal[0, 1, 2, 3] = 3
    offload_optimizer: bool = False  # its state and its work to the host: slower, fits more; stages 1 to 3
    offload_parameters: bool = False  # their pieces to the host, fetched when they are used; stage 3
    timeout_minutes: float = 10.0  # after which the others stop when a rank no longer answers

    def __post_init__(self):
        _positive("deepspeed.timeout_minutes", self.timeout_minutes)
        if self.offload_optimizer and self.zero_stage == 0:
            raise ValueError("deepspeed.offload_optimizer: expected zero_stage 1, 2 or 3 with it, got 0")
        if self.offload_parameters and self.zero_stage != 3:
            raise ValueError(
                f"deepspeed.offload_parameters: expected zero_stage 3 with it, got {self.zero_stage}"
            )


@dataclass(frozen=True)
class TrainRecipe:
    """One run of the loop. Positions are counted in samples, steps in optimiser updates."""

    output: str  # folder of the run: config.yaml, metrics.jsonl, checkpoints/, samples/
    num_steps: int
    batch_size: int  # samples per optimiser update, over all ranks and micro-batches
    optim: OptimRecipe
    seed: int = 0
    accumulation: int = 1  # micro-batches per rank and update
    ema_decay: float | None = None  # e.g. 0.9995; null keeps no average
    ema_schedule: Literal["constant", "early", "power"] = "early"  # how it is reached; see `ema`
    precision: Precision = "bf16"  # bf16: autocast over float32 parameters; float32: plain
    compile: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    deepspeed: DeepSpeedRecipe | None = None  # null: one process
    threads: int | None = None  # of torch on CPU; null leaves torch's own choice
    prefetch: int = 2  # batches prepared ahead; 0 prepares them in the loop
    prefetch_workers: int = 1  # threads that prepare them
    log_every: int = 20  # steps per line of metrics.jsonl
    sample_every: int | None = None  # steps per picture
    checkpoint_every: int | None = 1000  # steps; a checkpoint is always written at the end
    checkpoint_minutes: float | None = None  # as well as, or instead of, steps
    keep_last: int = 2  # checkpoints
    keep_best: str | None = None  # a metric: also the checkpoint where it was lowest; "-name": highest
    nonfinite: Literal["stop", "skip"] = "stop"  # what to do about a loss or a gradient that is no number
    skip_limit: int = 10  # updates of a run that may be skipped so
    time_limit_minutes: float | None = None  # then stop with a checkpoint, to be resumed
    resume: Literal["auto", "never", "must", "changed"] = "auto"
    # never refuses a folder that holds a run, must one that holds none; changed: with another seed or data
    wandb_project: str | None = None  # WANDB_MODE=offline keeps what it gets in the run's folder
    peak_tflops: float | None = None  # of one device, for the part that is used; null: known or measured

    def __post_init__(self):
        for name in (
            "num_steps",
            "batch_size",
            "accumulation",
            "log_every",
            "keep_last",
            "prefetch_workers",
            "skip_limit",
        ):
            _positive(name, getattr(self, name))
        for name in (
            "sample_every",
            "checkpoint_every",
            "checkpoint_minutes",
            "time_limit_minutes",
            "threads",
            "peak_tflops",
        ):
            if getattr(self, name) is not None:
                _positive(name, getattr(self, name))
        if self.batch_size % self.accumulation:
            raise ValueError(
                f"batch_size: expected a multiple of accumulation {self.accumulation}, got {self.batch_size}"
            )
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"ema_decay: expected a number between 0 and 1, got {self.ema_decay}")
        if self.compile and self.deepspeed is not None and self.deepspeed.zero_stage == 3:
            raise ValueError(
                "compile: expected false under deepspeed.zero_stage 3, whose gathering of weights torch "
                "cannot compile, got True; or use a lower stage"
            )

    def micro_batch(self, world: int) -> int:
        """Return the samples of one forward pass on one of `world` ranks.

        Raises:
            ValueError: it is no whole number.
        """
        pieces = world * self.accumulation
        if self.batch_size % pieces:
            raise ValueError(
                f"batch_size: expected a multiple of ranks x accumulation = {world} x {self.accumulation} = "
                f"{pieces}, got {self.batch_size}"
            )
        return self.batch_size // pieces


def _positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name}: expected a number above 0, got {value}")
