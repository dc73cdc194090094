"""Calibrations go with the weights they were measured on, and with no others."""

from __future__ import annotations

import json

import pytest
import torch

from tests.model.small import small_model
from unimm.model import UniMM
from unimm.model.verifying import VERIFIERS
from unimm.model.verifying.calibrated import conditions_of, weights_mark
from unimm.verify.calibration import Calibration
from unimm.verify.calibrations import Calibrations

MAP = Calibration("isotonic", (0.0, 1.0), (0.1, 0.9), 9, {"date": "2026-11-21"})


@pytest.fixture
def model():
    model = small_model()
    mark = weights_mark(model.stored_state())
    model.calibrations = Calibrations({"p_yes": MAP}, mark, conditions_of(model))
    return model


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_they_are_saved_and_loaded_with_the_model(model, tmp_path, dtype):
    model.save_pretrained(tmp_path / "m", dtype=dtype)
    again = UniMM.from_pretrained(tmp_path / "m")
    assert again.calibrations == model.calibrations
    again.save_pretrained(tmp_path / "n")
    assert (tmp_path / "n" / "calibration.json").read_text() == (
        tmp_path / "m" / "calibration.json"
    ).read_text()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_they_hold_whatever_the_weights_are_loaded_as(model, tmp_path, dtype):
    with torch.no_grad():
        model.projector.layers[0].weight.mul_(1e-6)  # below what float16 holds in full
    mark = weights_mark(model.stored_state())
    model.calibrations = Calibrations({"p_yes": MAP}, mark, conditions_of(model))
    model.save_pretrained(tmp_path / "m")
    again = UniMM.from_pretrained(tmp_path / "m", dtype=dtype)
    assert again.calibrations == model.calibrations
    drawn = again.generate_image("a", best_of=2, verifier="p_yes", num_inference_steps=2, seed=0)
    assert 0 < drawn.probabilities[0] < 1


def test_a_model_that_has_learnt_since_is_saved_without_them(model, tmp_path):
    with torch.no_grad():
        model.projector.layers[0].weight.add_(0.01)
    model.save_pretrained(tmp_path / "m")
    assert not (tmp_path / "m" / "calibration.json").exists()
    other = {key: tensor + 0.1 for key, tensor in small_model().stored_state().items()}
    small_model().save_pretrained(tmp_path / "o", state_dict=other)
    assert not (tmp_path / "o" / "calibration.json").exists()


def test_those_of_other_weights_are_not_used_and_that_is_told(model, tmp_path):
    model.save_pretrained(tmp_path / "m")
    path = tmp_path / "m" / "calibration.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "weights": "others"}))
    with pytest.warns(UserWarning, match="measured on other weights"):
        assert UniMM.from_pretrained(tmp_path / "m").calibrations == Calibrations()


def test_a_damaged_file_is_refused(model, tmp_path):
    model.save_pretrained(tmp_path / "m")
    (tmp_path / "m" / "calibration.json").write_text("[]")
    with pytest.raises(ValueError, match=r"calibration\.json: file: expected the fields"):
        UniMM.from_pretrained(tmp_path / "m")


def test_a_model_without_any_has_none(tmp_path):
    small_model().save_pretrained(tmp_path / "m")
    assert UniMM.from_pretrained(tmp_path / "m").calibrations == Calibrations()


def test_every_tensor_is_in_the_mark():
    state = small_model().stored_state()
    mark = weights_mark(state)
    for name, tensor in state.items():
        if tensor.is_floating_point():
            assert weights_mark({**state, name: tensor + 1}) != mark, name
    assert weights_mark({**state, "projector.layers.0.weight": torch.empty(1, device="meta")}) is None
    assert weights_mark({**state, "projector.layers.0.weight": torch.empty(1).half()}) is None


def test_the_built_in_model_is_calibrated_for_every_verifier():
    tiny = UniMM.from_pretrained("tiny")
    assert set(tiny.calibrations.maps) == set(VERIFIERS)
    drawn = tiny.generate_image(
        "a red circle", best_of=2, num_inference_steps=4, output_type="latent", seed=0
    )
    assert 0 < drawn.probabilities[0] < 1
    for name, calibration in tiny.calibrations.maps.items():
        facts = calibration.facts
        assert facts["ece_after"] < 0.05, name
        assert facts["log_loss"] < facts["base_log_loss"], name
        assert facts["held_out_log_loss"][calibration.kind] == min(facts["held_out_log_loss"].values())
