"""unimm.training.inference.subjects: models of random weights that draw, and answer as trained ones do."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from unimm.llm.shared import say
from unimm.model.verifying import asking
from unimm.training.inference import subjects
from unimm.training.inference.subjects import SUBJECTS, build, settings_of
from unimm.training.verification import SYSTEMS

CPU = torch.device("cpu")


@pytest.fixture
def small(monkeypatch):
    settings = subjects.mid_settings()
    llm = replace(settings.llm, width=64, heads=4, mlp_width=96, depth=2)
    dit = replace(settings.dit, width=64, heads=4, condition_width=32, depth=1)
    monkeypatch.setitem(subjects.RANDOM, "mid", lambda: replace(settings, llm=llm, dit=dit))
    settings_of.cache_clear()
    yield
    settings_of.cache_clear()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_of_random_weights_answers_yes_and_ends(small, monkeypatch, dtype, tied):
    settings = settings_of("mid")
    monkeypatch.setitem(
        subjects.RANDOM, "mid", lambda: replace(settings, llm=replace(settings.llm, tied_embeddings=tied))
    )
    settings_of.cache_clear()
    model, said = build("mid", dtype, CPU), []
    monkeypatch.setattr(asking, "say", lambda *asked: said.append(say(*asked)) or said[-1])
    scores = model.verify(torch.randn(3, 256, 384), "a star")
    tokens = said[0].tokens
    assert tokens.shape == (3, 2), "one word and the end"
    assert model.tokenizer.decode(tokens[0]).startswith("yes")
    assert min(scores) > 0
    assert model.dit.embed.weight.dtype == dtype
    assert model.statistics.mean.dtype == torch.float32


def test_it_draws_what_is_no_constant(small):
    latents = (
        build("mid", torch.float32, CPU)
        .generate_image(["a star", "two hearts"], num_inference_steps=2, output_type="latent", seed=[0, 0])
        .latents
    )
    assert torch.isfinite(latents).all()
    assert not torch.allclose(latents[0], latents[1])


def test_the_published_sizes_are_those_that_are_counted():
    for name, system in SYSTEMS.items():
        settings = settings_of(name.removeprefix("Scale-RAE ").replace(" ", ""))
        assert (settings.llm, settings.dit) == (system.llm, system.body[1])
    assert len(SUBJECTS) == 2 + len(SYSTEMS)


def test_what_does_not_fit_or_is_unknown_is_refused():
    with pytest.raises(ValueError, match=r"1.5B\+2.4B needs a GPU with room for 9.6 GB .* got cpu"):
        build("1.5B+2.4B", torch.bfloat16, CPU)
    with pytest.raises(ValueError, match="did you mean 'tiny'"):
        settings_of("tinny")
