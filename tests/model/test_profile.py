"""A profile is a model's, by name or in full; it is kept on the way and never saved."""

from __future__ import annotations

import copy
import dataclasses
import json

import pytest
import torch

from tests.model.small import small_model, small_settings
from unimm.model import PROFILES, UniMM
from unimm.model.context import Context
from unimm.model.drawing.asking import _said
from unimm.model.inputs import Request, batch_of, fill, rows_of, user
from unimm.model.verifying.asking import by_answer_logits
from unimm.parts import Image, Text, Turn


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


SEE = [Turn("user", (Image(latents=torch.linspace(-2, 2, 72).view(9, 8)), Text("What is it?")))]
DRAW = [Turn("user", (Text("Draw a star"),)), Turn("assistant", (Image(target=True),))]
REDRAW = [*SEE, *DRAW]


def rows(*conversations):
    model = small_model()
    return model, batch_of(model, rows_of(model, conversations, open_turn=False))


def is_rounded(x):
    return torch.equal(x, x.bfloat16().float())


def test_what_enters_beside_a_picture_is_rounded_and_nothing_else():
    model, batch = rows(SEE, DRAW, REDRAW)
    exact = model.embed(batch)
    model.profile = "reference"
    found = model.embed(batch)
    assert is_rounded(found[0])
    assert torch.equal(found[0], exact[0].bfloat16().float())
    assert torch.equal(found[1], exact[1])
    queries = next(run for run in batch.query_runs if run.row == 2)
    place = slice(queries.start, queries.start + queries.length)
    assert torch.equal(found[2, place], model.queries(1)[0]), "queries are not"
    assert is_rounded(torch.cat([found[2, : place.start], found[2, place.stop :]]))
    assert torch.equal(model.embed(batch, rounds=False), exact)


@torch.no_grad()
def test_the_first_norm_rounds_where_all_that_enters_is_rounded():
    model, batch = rows(SEE, DRAW, REDRAW)
    exact = model(batch)
    normed = []
    norm = model.llm.model.layers[0].input_layernorm
    model.llm.model.layers[0].self_attn.q_proj.register_forward_hook(lambda m, x, y: normed.append(x[0]))
    model.profile = "reference"
    found = model(batch)
    token = normed[0] / norm.weight
    assert is_rounded(token[0])
    assert not any(is_rounded(token[row]) for row in (1, 2))
    assert torch.equal(found[1], exact[1])
    assert not norm._forward_hooks, "the model is left as it was"


@torch.no_grad()
def test_a_picture_may_stand_alone_or_in_a_batch_when_rounded():
    model, batch = rows(SEE, DRAW, REDRAW)
    model.profile = "reference"
    alone = model(batch_of(model, rows_of(model, [SEE], open_turn=False)))
    torch.testing.assert_close(model(batch)[0, : alone.shape[1]], alone[0], rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["siglip2", "webssl"])
def test_pixels_and_features_are_rounded_on_their_way_through_the_tower(kind):
    model = small_model(encoder=dataclasses.replace(small_settings().encoder, kind=kind))
    pixels, encoder = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0)), model.encoder
    exact = model.encode_image(pixels)
    model.profile = "reference"
    hidden = encoder.hidden(encoder.standardise(pixels).bfloat16().float())
    features = {
        "siglip2": lambda: torch.nn.functional.layer_norm(hidden.bfloat16(), (8,), eps=1e-6),
        "webssl": lambda: encoder.layernorm(hidden).bfloat16(),
    }[kind]()
    expected = model.statistics.normalise(features)
    torch.testing.assert_close(model.encode_image(pixels), expected, rtol=0, atol=0)
    assert not torch.equal(model.encode_image(pixels), exact)


def test_training_rounds_nothing():
    model, batch = rows(SEE, REDRAW)
    batch.target_latents = torch.zeros(1, 9, 8)
    losses = []
    for name in PROFILES:
        model.profile = name
        losses.append(model.training_losses(batch, generator=torch.Generator().manual_seed(0)))
    assert losses[0] == losses[1]


def test_a_rounding_profile_remembers_nothing_of_a_conversation():
    model = small_model()
    model.profile = "reference"
    context, row = Context(model), rows_of(model, [SEE], open_turn=True)[0]
    first = context.read(row)
    assert torch.equal(context.read(row), first)
    assert torch.equal(Context(model).read(row), first)


def first_logits(model, ask) -> torch.Tensor:
    """Return the logits [V] of the first word, marks that nobody says included."""
    found = []
    hook = model.llm.lm_head.register_forward_hook(lambda head, inputs, out: found.append(out.clone()))
    ask()
    hook.remove()
    return found[0].reshape(-1, found[0].shape[-1])[-1]


PICTURE = Image(latents=torch.linspace(-2, 2, 72).view(9, 8))
WAYS = {
    "answer": lambda model, words, row: model.answer(PICTURE, words, max_new_tokens=2),
    "drawing": lambda model, words, row: _said(model, [row]),
    "context": lambda model, words, row: model.llm.lm_head(Context(model).read(row)),
    "verifier": lambda model, words, row: by_answer_logits(model, [Request("a")], 2**30)[0](
        PICTURE.latents[None], [0]
    ),
}


@torch.no_grad()
@pytest.mark.parametrize("way", WAYS)
def test_free_words_begin_as_the_whole_row_says(way):
    model = small_model()
    words = fill(model.config.settings.chat.verifier_question, "a")
    row = rows_of(model, [[user(PICTURE, words)]], open_turn=True)[0]
    exact = first_logits(model, lambda: WAYS[way](model, words, row))
    model.profile = "reference"
    expected = model.llm.lm_head(model(batch_of(model, [row]))[0, -1])
    assert (expected - exact).abs().max() > 1e-3, "rounding shows"
    found = first_logits(model, lambda: WAYS[way](model, words, row))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_words_that_are_said_beside_a_picture_are_rounded_nowhere():
    model, normed = small_model(), []
    model.profile = "reference"
    norm = model.llm.model.layers[0].input_layernorm
    model.llm.model.layers[0].self_attn.q_proj.register_forward_hook(lambda m, x, y: normed.append(x[0]))
    model.answer(PICTURE, "What is it?", max_new_tokens=2)
    assert [is_rounded(states / norm.weight) for states in normed] == [True, False]
