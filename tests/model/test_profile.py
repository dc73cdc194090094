"""A profile is a model's, by name or in full; it is kept on the way and never saved."""

from __future__ import annotations

import copy
import dataclasses
import json

import pytest
import torch

from tests.model.small import small_model
from unimm.model import PROFILES, UniMM


def test_a_model_is_standard_until_it_is_told_otherwise(tmp_path):
    model = small_model()
    assert model.profile is PROFILES["standard"]
    model.profile = "reference"
    assert model.profile == PROFILES["reference"]
    model.save_pretrained(tmp_path / "m")
    assert "profile" not in json.dumps(json.loads((tmp_path / "m" / "config.json").read_text()))
    assert UniMM.from_pretrained(tmp_path / "m").profile is PROFILES["standard"]
    assert UniMM.from_pretrained(tmp_path / "m", profile="reference").profile == PROFILES["reference"]


def test_a_profile_may_be_made_of_single_quirks():
    model = small_model()
    model.profile = dataclasses.replace(PROFILES["standard"], guides=False)
    assert not model.profile.guides


def test_a_profile_stays_when_the_model_is_moved_cast_or_copied():
    model = small_model()
    model.profile = "reference"
    assert copy.deepcopy(model.to("cpu").to(torch.bfloat16)).profile == PROFILES["reference"]


def test_an_unknown_profile_is_suggested():
    with pytest.raises(ValueError, match="profile: expected one of standard, reference, .* 'reference'"):
        small_model().profile = "refrence"


def test_a_profile_that_never_guides_draws_the_same_at_any_scale():
    model, options = small_model(), {"num_inference_steps": 3, "seed": 0, "output_type": "latent"}
    with_guidance = model.generate_image("a", guidance_scale=3.0, **options).latents
    plain = model.generate_image("a", guidance_scale=1.0, **options).latents
    assert not torch.equal(with_guidance, plain)
    model.profile = dataclasses.replace(PROFILES["standard"], guides=False)
    assert torch.equal(model.generate_image("a", guidance_scale=3.0, **options).latents, plain)


def test_the_sampler_is_the_profiles_unless_one_is_named():
    model, options = small_model(), {"num_inference_steps": 5, "seed": 0, "output_type": "latent"}
    clean = model.generate_image("a", **options).latents
    published = model.generate_image("a", sampler="scale_rae", **options).latents
    assert not torch.equal(clean, published)
    model.profile = "reference"
    assert torch.equal(model.generate_image("a", **options).latents, published)
    assert torch.equal(model.generate_image("a", sampler="clean", **options).latents, clean)
