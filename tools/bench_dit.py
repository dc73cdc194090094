"""Time DiT bodies: python -m tools.bench_dit NAME [--depth 2] [--batch 8] | --kind ddt --width 768 --depth 4

Times a forward, a forward with backward (no optimiser step), and a whole sample by Euler's method without
guidance. "of matmul" is the body's floating-point operations per second over those of its own largest matrix
product, timed in turn; two operations per multiply-accumulate of matrix products and attention, a
backward counts as two forwards. Encoding, decoding and data are not in it.
"""

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from unimm.dit.bodies import BODIES
from unimm.dit.presets import preset
from unimm.training.speed import CLOCKS, DTYPES, Speed, SpeedPlan, machine, measure, sized


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", help="published sizes; python -m tools.count --list shows them")
    parser.add_argument("--kind", choices=BODIES, help="instead of a name, with the sizes that follow")
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument(
        "--depth", type=int, help="of a name too: fewer blocks, same widths; without a name 4"
    )
    parser.add_argument("--heads", type=int, help="width / 64 where not given")
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--grid", type=int, default=16)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=50, help="of the sample; 0 leaves it out")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: seconds this process had a CPU")
    parser.add_argument("--threads", type=int, help="of torch on a CPU")
    parser.add_argument("--json", metavar="FILE", help="write the numbers")
    return parser.parse_args(argv)


def bodies(given: argparse.Namespace) -> dict[str, tuple[str, Any]]:
    """Return {name: (kind, config)} of what is to be timed."""
    found = {}
    for name in given.names:
        kind, config = preset(name)
        depth = given.depth or config.depth
        found[name if depth == config.depth else f"{name}, depth {depth}"] = (
            kind,
            replace(config, depth=depth),
        )
    if given.kind:
        depth, heads = given.depth or 4, given.heads or max(1, given.width // 64)
        config = sized(given.kind, given.width, depth, heads, given.channels, given.grid)
        found[f"{given.kind}, width {given.width}, depth {depth}"] = given.kind, config
    if not found:
        raise ValueError("nothing to time: expected a published size or --kind")
    return found


def watched(name: str, body: torch.nn.Module, plan: SpeedPlan) -> list[Speed]:
    """Measure a body beside a bar that says what is being timed."""
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(name, total=plan.repeats + 1)

        def show(turn: int, task: str) -> None:
            told = f"round {turn} of {plan.repeats}" if turn else "warming up"
            progress.update(bar, completed=turn, description=f"{name}: {task}, {told}")

        return measure(body, plan, show)


def table(title: str, speeds: list[Speed]) -> Table:
    shown = Table("", title=title, title_justify="left")
    for heading in ("seconds", "images/s", "GFLOP/s", "of matmul", "lowest to highest"):
        shown.add_column(heading, justify="right")
    for speed in speeds:
        pictures = f"{speed.pictures_per_second:.3g}" if speed.pictures_per_second else ""
        rate, share = f"{speed.flops_per_second / 1e9:,.1f}", f"{speed.share:.0%}"
        spread = f"{speed.lowest_share:.0%} to {speed.highest_share:.0%}"
        shown.add_row(speed.name, f"{speed.seconds:.3f}", pictures, rate, share, spread)
    return shown


def main(argv: list[str] | None = None) -> int:
    given = arguments(argv)
    console, written = Console(width=None if sys.stdout.isatty() else 100), {}
    try:
        plan = SpeedPlan(**{k: v for k, v in vars(given).items() if k in SpeedPlan.__dataclass_fields__})
        if given.threads:
            torch.set_num_threads(given.threads)
        console.print(machine(plan))
        for name, (kind, config) in bodies(given).items():
            speeds = watched(name, BODIES[kind][1](config), plan)
            console.print(table(name, speeds))
            written[name] = [asdict(speed) for speed in speeds]
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if given.json:
        whole = {"machine": machine(plan), "bodies": written}
        Path(given.json).write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
