"""What is seen and what is drawn: one and the same of a RAE, two spaces where a VAE's latents are drawn."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from tests.model.small import BODIES, VAE, small_model
from unimm.latents.pixels import resize_pixels
from unimm.model import UniMM
from unimm.parts import Image as Picture
from unimm.parts import Text, Turn
from unimm.text.chat import collate, render
from unimm.text.tokenizer import special_ids

STEPS = {"num_inference_steps": 2, "seed": 1}
MODELS = {"rae": {}, "raw": {"sees_raw": True}, "vae": VAE} | {
    name: {"body": name, "dit": dit} for name, dit in BODIES.items()
}


@pytest.fixture(params=MODELS.values(), ids=MODELS)
def model(request):
    return small_model(**request.param)


@pytest.fixture
def vae():
    return small_model(**VAE)


@pytest.fixture
def pixels():
    return torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def test_a_model_of_any_sort_draws_sees_and_comes_back(model, tmp_path):
    drawn = model.generate_image(["a star", "b"], **STEPS)
    assert drawn.latents.shape == (2, 9, model.config.settings.dit.channels)
    assert [image.size for image in drawn.images] == [(model.config.settings.image_size,) * 2] * 2
    seen = model.to_seen(drawn.latents)
    assert seen.shape == (2, 9, 8)
    assert isinstance(model.caption(drawn.images[0], max_new_tokens=2), str)
    model.save_pretrained(tmp_path / "m")
    loaded = UniMM.from_pretrained(tmp_path / "m")
    assert loaded.config.settings == model.config.settings
    assert torch.equal(loaded.generate_image(["a star", "b"], **STEPS).latents, drawn.latents)


def test_a_rae_sees_what_it_draws(pixels):
    model = small_model()
    latents = model.encode_image(pixels)
    assert torch.equal(model.encode_target(pixels), latents)
    assert model.to_seen(latents) is latents


def test_raw_latents_are_seen_before_the_statistics_and_drawn_after(pixels):
    model = small_model(sees_raw=True)
    seen, drawn = model.encode_image(pixels), model.encode_target(pixels)
    assert torch.equal(seen, model.encoder.encode(pixels))
    torch.testing.assert_close(drawn, (seen - model.statistics.mean) / model.statistics.std)
    torch.testing.assert_close(model.to_seen(drawn), seen, rtol=0, atol=1e-5)


def test_a_vaes_latents_are_drawn_and_the_encoders_are_seen(vae, pixels):
    seen, drawn = vae.encode_image(pixels), vae.encode_target(pixels)
    assert torch.equal(seen, vae.encoder.encode(pixels))
    expected = (vae.drawn.encode(pixels) - vae.statistics.mean) / vae.statistics.std
    torch.testing.assert_close(drawn, expected)
    shown = vae.decode_latents(drawn)
    torch.testing.assert_close(shown, vae.drawn.decode(vae.drawn.encode(pixels)), rtol=0, atol=1e-4)
    torch.testing.assert_close(vae.to_seen(drawn), vae.encode_image(resize_pixels(shown, 12)))


def test_a_generator_draws_from_the_posterior(vae, pixels):
    def drawn(seed):
        return vae.encode_target(pixels, torch.Generator().manual_seed(seed))

    assert torch.equal(drawn(0), drawn(0))
    assert not torch.equal(drawn(0), drawn(1))
    assert not torch.equal(drawn(0), vae.encode_target(pixels))


def test_latents_of_another_space_are_refused(vae):
    with pytest.raises(ValueError, match="drawn latents: expected .* with C=12, got 8"):
        vae.to_seen(torch.zeros(1, 9, 8))


def test_both_spaces_are_trained_on(vae):
    rows = [
        render(
            [Turn("user", (Picture(), Text("What?"))), Turn("assistant", (Text("a star"),))], vae.tokenizer, 9
        ),
        render([Turn("user", (Text("Draw"),)), Turn("assistant", (Picture(target=True),))], vae.tokenizer, 9),
    ]
    pad = special_ids(vae.tokenizer).pad
    for chosen, seen, drawn in ((rows, 1, 1), (rows[:1], 1, 0), (rows[1:], 0, 1)):
        batch = collate(
            chosen, pad, torch.randn(1, 9, 8) if seen else None, torch.randn(1, 9, 12) if drawn else None
        )
        losses = vae.training_losses(batch, generator=torch.Generator().manual_seed(0))
        assert torch.isfinite(losses.ce)
        assert (losses.flow > 0) == bool(drawn)
        vae.zero_grad()
        (losses.ce + losses.flow).backward()
        for room in ("llm", "queries", "projector", "connector", "dit"):
            assert all(p.grad is not None for p in getattr(vae, room).parameters()), room


def test_a_picture_may_be_given_as_it_was_drawn(vae):
    latents = vae.generate_image("a", **STEPS).latents[0]
    assert vae.caption(latents, max_new_tokens=3) == vae.caption(
        Picture(seen=vae.to_seen(latents[None])[0]), max_new_tokens=3
    )
    assert isinstance(vae.caption(Image.new("RGB", (5, 5)), max_new_tokens=2), str)
