"""`unimm plan CONFIG`: what a run will need, before it is started."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from unimm.training.plan import Estimate

GIB, DAY = 2**30, 86_400


def plan(
    recipe: Annotated[
        list[str], typer.Argument(metavar="CONFIG [KEY=VALUE]...", help="A recipe and changes to it.")
    ],
    gpus: Annotated[int, typer.Option(help="Devices over all hosts.")] = 1,
    gpu: Annotated[str, typer.Option(help="h100, h200, b200, a100-80, a100-40, l40s or rtx4090.")] = "h100",
    memory: Annotated[float | None, typer.Option(help="GiB of a device, instead of its maker's.")] = None,
    host_memory: Annotated[float | None, typer.Option(help="GiB of a host; else it refuses nothing.")] = None,
    per_host: Annotated[int, typer.Option(help="Devices in one host.")] = 8,
    utilisation: Annotated[float, typer.Option(help="Part of the peak that is assumed to be reached.")] = 0.4,
    stage: Annotated[str | None, typer.Option(help="Which stage, where the keys do not tell.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Numbers instead of a table.")] = False,
) -> None:
    """Say what a run needs: memory per device and host, time, tokens; exit 1 if it does not fit."""
    from dataclasses import replace

    from unimm.tables import pick
    from unimm.training.plan import DEVICES, Assumptions, estimate
    from unimm.training.plan.remedies import remedies
    from unimm.training.plan.stages import planned

    device = pick("--gpu", gpu, DEVICES)
    if memory is not None:
        device = replace(device, memory_bytes=round(memory * GIB))
    host_bytes = None if host_memory is None else round(host_memory * GIB)
    assumed = Assumptions(utilisation, devices_per_host=per_host, host_bytes=host_bytes)
    if not Path(recipe[0]).is_file():
        raise FileNotFoundError(f"recipe: expected a YAML file at {recipe[0]}, found none")
    run = planned(recipe[0], recipe[1:], stage)
    found = estimate(run.workload, run.recipe.train, gpus, device, assumed, run.again)
    cures = [] if found.fits else list(remedies(run, gpus, device, assumed))
    if as_json:
        print(json.dumps(_values(run.stage, found, cures), indent=1))
    else:
        _show(run.stage, gpu, found, cures, utilisation)
    if not found.fits:
        raise typer.Exit(1)


def _values(stage: str, found: Estimate, cures: list[tuple[str, Estimate]]) -> dict:
    return {
        "stage": stage,
        **asdict(found),
        "device_total": found.device_total,
        "host_total": found.host_total,
        "fits": found.fits,
        "would_fit": [
            {"change": said, "device_total": one.device_total, "days": one.days} for said, one in cures
        ],
    }


def _show(
    stage: str, gpu: str, found: Estimate, cures: list[tuple[str, Estimate]], utilisation: float
) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if Console().is_terminal else 110, highlight=False)
    console.print(f"{stage} on {found.gpus} x {gpu}, {found.micro_batch} samples at a time on each")
    table = Table("", "GiB on a device")
    for name, size in found.device_bytes.items():
        table.add_row(name, f"{size / GIB:.2f}")
    table.add_section()
    table.add_row("together", f"{found.device_total / GIB:.1f} of {found.device_capacity / GIB:.1f}")
    console.print(table)
    room = "" if found.host_capacity is None else f" of {found.host_capacity / GIB:.1f}"
    console.print(f"a host: {found.host_total / GIB:.1f} GiB{room}")
    console.print(f"parameters: {_short(found.trained)} learn, {_short(found.frozen)} are frozen")
    rates = [f"{found.images_per_second:,.0f} images/s"]
    rates += [f"{found.tokens_per_second:,.0f} tokens/s"] if found.tokens else []
    console.print(
        f"a step: {_three(found.step_flops / 1e12)} TFLOP, {_lasting(found.step_seconds)} "
        f"at {utilisation:.0%} of the peak (assumed); {', '.join(rates)}"
    )
    tokens = f", {_short(found.tokens)} tokens" if found.tokens else ""
    console.print(f"the run: {_lasting(DAY * found.days)}{tokens}")
    if found.fits:
        console.print("It fits.")
        return
    console.print("It does not fit." + (" What would:" if cures else " Nothing known here makes it fit."))
    for said, one in cures:
        console.print(f"  {said}: {one.device_total / GIB:.1f} GiB, {_lasting(DAY * one.days)}", markup=False)


def _short(count: int) -> str:
    """Return a count to three digits: 4.81 B, 16.2 M, 950."""
    for name, size in (("B", 1e9), ("M", 1e6), ("thousand", 1e3)):
        if count >= size:
            return f"{_three(count / size)} {name}"
    return str(count)


def _lasting(seconds: float) -> str:
    """Return a time to three digits in the largest unit that it fills: 2.45 days, 3.2 hours, 0.8 ms."""
    units = (("days", DAY), ("hours", 3600), ("minutes", 60), ("s", 1))
    name, size = next((unit for unit in units if seconds >= unit[1]), ("ms", 1e-3))
    return f"{_three(seconds / size)} {name}"


def _three(number: float) -> str:
    """Return a number to three digits, written out: 17,700."""
    return f"{float(f'{number:.3g}'):,g}"
