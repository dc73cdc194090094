"""Rooms that lie elsewhere: a model whose weights wait until they are asked draws and speaks the same."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from tests.model.small import BODIES, VAE, small_model
from unimm.model.placing import device_of

STEPS = {"num_inference_steps": 2, "output_type": "pt", "seed": 0}


@pytest.fixture(scope="module")
def offloaded():
    from accelerate import cpu_offload

    model = small_model()
    cpu_offload(model, execution_device=torch.device("cpu"))
    assert next(model.parameters()).is_meta, "the weights are there, so nothing is tested"
    return model


def test_a_room_computes_where_its_hook_or_its_weights_say(offloaded):
    assert device_of(offloaded.dit) == torch.device("cpu")
    assert device_of(small_model().statistics) == torch.device("cpu")
    assert device_of(torch.nn.Linear(2, 2, device="meta")) == torch.device("meta")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"guidance_scale": 2.0},
        {"guidance_scale": 2.0, "negative_prompt": "a heart"},
        {"best_of": 3},
        {"image_start": "forced", "num_images_per_prompt": 3, "batch_size": 2},
    ],
    ids=["plain", "guided", "negative", "best", "passes"],
)
def test_an_offloaded_model_draws_as_one_that_is_there(offloaded, options):
    expected = small_model().generate_image(["a star", "two blue hearts"], **STEPS, **options)
    found = offloaded.generate_image(["a star", "two blue hearts"], **STEPS, **options)
    torch.testing.assert_close(found.images, expected.images, rtol=1e-4, atol=1e-5)
    assert found.seeds == expected.seeds


def test_an_offloaded_model_sees_and_speaks(offloaded):
    picture = Image.new("RGB", (20, 20), "red")
    assert offloaded.caption(picture, max_new_tokens=4) == small_model().caption(picture, max_new_tokens=4)
    assert offloaded.answer(picture, "a?", choices=["yes", "no"]) in ("yes", "no")
    drawn = offloaded.generate_image("a star", picture, **STEPS).latents
    expected = small_model().generate_image("a star", picture, **STEPS).latents
    torch.testing.assert_close(drawn, expected, rtol=1e-4, atol=1e-5)


def test_an_offloaded_model_draws_in_a_conversation(offloaded):
    asked = [{"role": "user", "content": "Draw a star"}]
    options = {"image_start": "forced", "num_inference_steps": 2, "seed": 0, "max_new_tokens": 4}
    found, expected = offloaded.chat(asked, **options), small_model().chat(asked, **options)
    torch.testing.assert_close(found.latents[0], expected.latents[0], rtol=1e-4, atol=1e-5)
    assert found.text == expected.text


MODELS = {"rae": {}, "vae": VAE, "ddt": {"body": "ddt", "dit": BODIES["ddt"]}}


@pytest.mark.parametrize("changes", MODELS.values(), ids=MODELS)
def test_no_device_map_divides_a_block(changes):
    from accelerate import infer_auto_device_map
    from accelerate.utils import compute_module_sizes

    model = small_model(**changes)
    whole = compute_module_sizes(model)[""]
    blocks = [model.llm.model.layers, model.encoder.layers, model.dit.blocks]
    if model.decoder is not None:
        blocks.append(model.decoder.blocks)
    kept = {name for name, part in model.named_modules() if any(part in each for each in blocks)}
    assert len(kept) >= 4
    mixed = 0
    for share in (0.5, 0.6, 0.7, 0.8, 0.9):
        memory = {"cpu": int(whole * share), "disk": 10 * whole}
        places = infer_auto_device_map(
            model, memory, no_split_module_classes=list(model._no_split_modules), offload_buffers=True
        )
        mixed += set(places.values()) == {"cpu", "disk"}
        assert not [name for name in places for block in kept if name.startswith(f"{block}.")]
    assert mixed >= 3
