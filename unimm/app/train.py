"""`unimm train`: the stages, and models out of their runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    stage: Annotated[
        str | None, typer.Argument(help="Which stage, or `export`; without one the stages are listed.")
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CONFIG [KEY=VALUE]...",
            help="A YAML file and changes to it; of `export`: a run's folder and the model folder to write.",
        ),
    ] = None,
    step: Annotated[int | None, typer.Option(help="export: this checkpoint, not the newest.")] = None,
    ema: Annotated[
        bool, typer.Option("--ema/--no-ema", help="export: averages in place of what trained, if there are.")
    ] = True,
) -> None:
    """Train a stage of a model, or make a model folder of a run: `unimm train export RUN OUT`."""
    from unimm.training import stages

    if stage == "export":
        _export(recipe or [], step, ema)
        return
    if step is not None or not ema:
        raise ValueError("--step, --no-ema: expected only with `unimm train export`")
    if stage is None:
        print("\n".join(stages.STAGES))
    else:
        stages.main(stage, recipe or [])


def _export(folders: list[str], step: int | None, averaged: bool) -> None:
    from unimm.training.export import export_run

    if len(folders) != 2:
        raise ValueError(f"train export: expected a run's folder and a folder to write, got {folders}")
    run, out = map(Path, folders)
    found = export_run(run, out, step, averaged)
    print(f"{out}: the model of {found}")
