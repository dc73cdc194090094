"""Time drawing and judging: python -m tools.bench_inference tiny mid [--clock cpu] | --computed 1.5B+2.4B

Draws batches of different prompts, and the best of N of one, with the time in every stage, per picture that
comes out. "of DiT" is the rate over that of the network's sample alone, as tools.bench_dit times it; "over
one by one" over that of the same pictures drawn singly. Beside best-of-N stands the naive order in the same
run: candidate by candidate, nothing remembered, each decoded and encoded again to be judged. The memory is
that of tensors beside the weights, of a run with one step. --computed tells of any size, anywhere, what
memory it takes and what each order multiplies.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from rich.console import Console

from unimm.training.inference.counted import counted_choice
from unimm.training.inference.memory import drawing_memory
from unimm.training.inference.official import checkout_seconds
from unimm.training.inference.subjects import SUBJECTS, build, settings_of
from unimm.training.inference.tables import batches_table, choices_table, memory_table, work_table
from unimm.training.inference.timing import PROMPTS, InferencePlan, time_choosing, time_drawing
from unimm.training.speed import CLOCKS, DTYPES, machine

MEMORY_ROWS = ((1, False), (8, False), (32, False), (8, True), (32, True))
"""(Pictures, whether one of them is chosen) of the computed table."""


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", nargs="*", help=f"of {', '.join(SUBJECTS)}")
    parser.add_argument(
        "--computed", action="store_true", help="memory and work by closed form; times nothing"
    )
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument("--candidates", type=int, nargs="*", default=[8], help="N of best-of-N")
    parser.add_argument("--steps", type=int, default=50, help="of the sampler, for batches")
    parser.add_argument("--best-steps", type=int, default=50, help="of the sampler, for candidates")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dtype", choices=DTYPES, help="bf16 on a GPU and with --computed, else float32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: seconds this process had a CPU")
    parser.add_argument("--threads", type=int, help="of torch on a CPU")
    parser.add_argument("--official", type=Path, metavar="PATH", help="a Scale-RAE checkout to time as well")
    parser.add_argument("--official-model", default="nyu-visionx/Scale-RAE-Qwen1.5B_DiT2.4B")
    parser.add_argument("--official-python", default="python", help="of the checkout's environment")
    parser.add_argument("--json", metavar="FILE", help="write the numbers")
    given = parser.parse_args(argv)
    if not given.models and given.official is None:
        parser.error(f"name a model of {', '.join(SUBJECTS)}")
    given.dtype = given.dtype or ("bf16" if given.computed or given.device.startswith("cuda") else "float32")
    return given


def computed(name: str, given: argparse.Namespace, console: Console) -> dict:
    settings, dtype = settings_of(name), DTYPES[given.dtype]
    rows = [(n, one, drawing_memory(settings, dtype, n, 1 if one else n, one)) for n, one in MEMORY_ROWS]
    console.print(memory_table(f"{name}, {dtype}: memory of drawing, GB, computed", rows))
    works = {n: counted_choice(settings, n, given.best_steps) for n in given.candidates}
    console.print(work_table(f"{name}, {given.best_steps} steps: multiply-accumulates, 10^12", works))
    memory = [{"pictures": n, "chosen": one, **vars(taken), "total": taken.total} for n, one, taken in rows]
    return {"memory": memory, "macs": {n: {"ours": a, "naive": b} for n, (a, b) in works.items()}}


def timed(name: str, plan: InferencePlan, console: Console) -> dict:
    model = build(name, DTYPES[plan.dtype], torch.device(plan.device))
    with Console(stderr=True).status(name) as status:
        show = lambda what: status.update(f"{name}: {what}")  # noqa: E731
        batches, choices = time_drawing(model, plan, show), time_choosing(model, plan, show)
    console.print(batches_table(f"{name}, {plan.steps} steps: seconds per picture", batches))
    console.print(choices_table(f"{name}, {plan.best_steps} steps: seconds per choice", choices))
    return {"batches": batches, "choices": choices}


def main(argv: list[str] | None = None) -> int:
    given = arguments(argv)
    console, written = Console(width=None if sys.stdout.isatty() else 110), {}
    try:
        plan = InferencePlan(
            tuple(given.batches), tuple(given.candidates), given.steps, given.best_steps, given.repeats,
            given.dtype, given.device, given.clock,
        )  # fmt: skip
        if given.threads:
            torch.set_num_threads(given.threads)
        if not given.computed:
            console.print(machine(plan.speed(max(plan.batches, default=1))))
        for name in given.models:
            written[name] = computed(name, given, console) if given.computed else timed(name, plan, console)
        if given.official is not None:
            told = checkout_seconds(given.official, given.official_model, PROMPTS[0], given.official_python)
            console.print(f"{given.official}: {told:.1f} s for one picture, loading included")
            written["official"] = {"seconds_with_loading": told}
    except (ValueError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 2
    if given.json:
        Path(given.json).write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
