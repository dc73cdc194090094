"""Rooms to begin from: out of a run, a model's folder, or the built-in model."""

from __future__ import annotations

import pytest
import torch

from tests.model.small import small_model
from unimm import UniMM
from unimm.training.codec import place_of, trained


def test_a_model_gives_its_rooms(tmp_path):
    model = small_model()
    model.save_pretrained(tmp_path / "model")
    for name in ("encoder", "statistics", "decoder"):
        found, wanted = trained(tmp_path / "model", name), getattr(model, name).state_dict()
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_the_built_in_model_is_known_by_name():
    wanted = UniMM.from_pretrained("tiny").decoder.state_dict()
    found = trained("tiny", "decoder")
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key].float(), wanted[key]) for key in wanted)
    assert (place_of("tiny") / "tokenizer.json").is_file()


def test_what_is_not_there_is_named(tmp_path):
    small_model().save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match="model: expected a module 'painter', found .*encoder"):
        trained(tmp_path / "model", "painter")
    with pytest.raises(FileNotFoundError, match="expected a checkpoint in .* or a model's config.json"):
        trained(tmp_path / "nothing", "encoder")
