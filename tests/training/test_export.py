"""unimm train export: any checkpoint as a model folder, whole or not at all."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.model.small import small_model
from unimm import UniMM
from unimm.app.cli import main
from unimm.training.export import SHELL, export_run, find_checkpoint, write_shell


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two checkpoints, the second with averages of its DiT."""
    folder = tmp_path_factory.mktemp("run")
    for step, seed in ((4, 0), (8, 1)):
        model = small_model(seed)
        place = folder / "checkpoints" / f"step-{step:08d}"
        place.mkdir(parents=True)
        state = {f"model.{name}": x.clone() for name, x in model.stored_state().items()}
        for tied in model.all_tied_weights_keys:
            state.pop(f"model.{tied}", None)
        save_file(state, place / "weights.safetensors")
        averages = {name: x + 1 for name, x in state.items() if name.startswith("model.dit.")}
        if step == 8:
            save_file(averages, place / "ema.safetensors")
        (place / "state.json").write_text(f'{{"step": {step}}}')
    write_shell(model, folder)
    return folder


def same(model, other, extra=0.0):
    ours, theirs = model.state_dict(), other.state_dict()
    return all(
        torch.equal(x, theirs[name] + (extra if name.startswith("dit.") else 0)) for name, x in ours.items()
    )


def test_the_newest_checkpoint_becomes_a_model_with_averages(run, tmp_path):
    assert export_run(run, tmp_path / "m") == run / "checkpoints" / "step-00000008"
    model = UniMM.from_pretrained(str(tmp_path / "m"))
    assert same(model, small_model(1), extra=1)
    assert model.tokenizer is not None


def test_the_command_takes_a_step_and_leaves_averages_out(run, tmp_path, capsys):
    with pytest.raises(SystemExit) as left:
        main(["train", "export", str(run), str(tmp_path / "m"), "--no-ema"])
    assert left.value.code in (0, None)
    assert "step-00000008" in capsys.readouterr().out
    assert same(UniMM.from_pretrained(str(tmp_path / "m")), small_model(1))
    export_run(run, tmp_path / "first", step=4)
    assert same(UniMM.from_pretrained(str(tmp_path / "first")), small_model(0))


def test_a_step_that_there_is_not_is_answered_with_those_that_there_are(run):
    with pytest.raises(FileNotFoundError, match=r"step: expected one of 4, 8 in .*, got 5"):
        find_checkpoint(run, 5)
    with pytest.raises(FileNotFoundError, match="expected checkpoints in"):
        find_checkpoint(run / "samples", None)


def test_weights_that_do_not_fit_leave_nothing(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / "checkpoints" / "step-00000008" / "weights.safetensors"
    state = {name: x.clone() for name, x in load_file(path).items()}
    del state["model.queries.weight"]
    save_file({**state, "model.strange": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"queries\.weight.*strange"):
        export_run(tmp_path / "run", tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_run_without_a_model_says_so(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / SHELL)
    with pytest.raises(ValueError, match="expected stage.json or shell/"):
        export_run(tmp_path / "run", tmp_path / "m")
