"""A checkpoint as a model folder: any step of any run, averaged or not, without running its stage."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unimm import config as config_file
from unimm.loaded import quiet
from unimm.model.config import UniMMConfig
from unimm.model.loading import compare, expected, read_config
from unimm.model.unimm import UniMM
from unimm.text.tokenizer import load_tokenizer
from unimm.training import checkpoint, saving

STAGE, SHELL = "stage.json", "shell"
"""In a run's folder: which stage it is of, and a model's folder without its weights."""


def write_shell(model: UniMM, run: Path) -> None:
    """Write what a model's folder holds beside its weights, so that weights alone make a model later."""
    model.config.save_pretrained(run / SHELL)
    if model.tokenizer is not None:
        model.tokenizer.save_pretrained(run / SHELL)


def export_model(
    config: UniMMConfig, tokenizer: Any, state: Mapping[str, Tensor], folder: Path, source: str
) -> None:
    """Write a model folder, whole or not at all; no tensor is copied but while it is written.

    Args:
        config: of the model.
        tokenizer: of the model, or None.
        state: the weights by path in the model, tied ones once; memory maps are read as they are written.
        folder: to write.
        source: what errors call the place of the weights.

    Raises:
        ValueError: weights that are missing, unexpected or misshapen, all of them listed.
        OSError: the folder cannot be written; nothing has changed then.
    """
    compare(source, state, *expected(UniMM, config))
    with torch.device("meta"):
        model = UniMM(config)
    model.tokenizer = tokenizer
    model.save_pretrained(folder, state_dict=dict(state))


def model_state(found: Path, averaged: bool = True) -> dict[str, Tensor]:
    """Return the weights in a checkpoint of what its stage calls "model", by path in it."""
    state, prefix = checkpoint.averaged_state(found, averaged), "model."
    return {key.removeprefix(prefix): x for key, x in state.items() if key.startswith(prefix)}


@quiet()
def export_run(run: Path, out: Path, step: int | None = None, averaged: bool = True) -> Path:
    """Write the model of a run's checkpoint; return the checkpoint's folder.

    Args:
        run: folder of a run, of which the newest checkpoint counts, or of one checkpoint.
        out: the model folder to write.
        step: another checkpoint than the newest.
        averaged: take the averages in place of what trained, where they were kept.

    Raises:
        FileNotFoundError: no such run or checkpoint.
        ValueError: weights that do not fit, or a run whose stage makes no model.
    """
    found = find_checkpoint(run, step)
    run = found.parent.parent
    if (run / SHELL / "config.json").is_file():
        shell = run / SHELL
        tokenizer = load_tokenizer(shell) if (shell / "tokenizer.json").is_file() else None
        export_model(read_config(shell), tokenizer, model_state(found, averaged), out, str(found))
    else:
        _export_by_stage(run, found, out, averaged)
    return found


def find_checkpoint(run: Path, step: int | None) -> Path:
    """Return a checkpoint of a run.

    Raises:
        FileNotFoundError: there is none, or none of that step; those that there are, are named.
    """
    if (run / "state.json").is_file() and step is None:
        return run.absolute()
    known = {checkpoint.read_state(folder)["step"]: folder for folder in checkpoint.checkpoints(run)}
    if not known:
        raise FileNotFoundError(f"run: expected checkpoints in {run / 'checkpoints'}, found none")
    if step is not None and step not in known:
        raise FileNotFoundError(f"step: expected one of {', '.join(map(str, known))} in {run}, got {step}")
    return known[max(known) if step is None else step].absolute()


def _export_by_stage(run: Path, found: Path, out: Path, averaged: bool) -> None:
    """Build the run's stage again, data and all, and let it export."""
    from unimm.training.stages import STAGES

    path = run / STAGE
    if not path.is_file():
        raise ValueError(
            f"{run}: expected {STAGE} or {SHELL}/, found neither: an older version made this run"
        )
    name = json.loads(path.read_text(encoding="utf-8"))["stage"]
    recipe_class, stage_class = STAGES[name]()
    if not hasattr(stage_class, "export"):
        raise ValueError(f"{run}: the stage {name} makes no model by itself; a later stage takes its weights")
    stage = stage_class(config_file.load(recipe_class, run / "config.yaml"))
    with tempfile.TemporaryDirectory() as folder:  # a checkpoint in which averages may be left out
        for file in (saving.WEIGHTS, saving.AVERAGES) if averaged else (saving.WEIGHTS,):
            if (found / file).exists():
                os.symlink(found / file, Path(folder) / file)
        stage.export(Path(folder), out)
