"""From conditions to latents: every sampler, guidance, dtype and pass; nothing is asked twice."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.model.small import small_model, small_settings
from unimm import UniMM
from unimm.flow.guidance import guided
from unimm.flow.sampling import SAMPLERS, Sampling, draw_states
from unimm.model.drawing import conditions_of
from unimm.model.drawing.budget import pass_size, picture_bytes

PROMPTS = ["a red star", "two blue circles to the left of a green square, all of them on grey"]
STEPS = {"num_inference_steps": 4, "output_type": "latent"}


@pytest.fixture(scope="module")
def model():
    return small_model()


def draw(model, prompt=PROMPTS[0], **options):
    return model.generate_image(prompt, **{**STEPS, "seed": 3, **options}).latents


@pytest.mark.parametrize("solver", ["euler", "heun", "euler_maruyama", "scale_rae"])
@pytest.mark.parametrize("which", ["random", "tiny"])
def test_a_picture_is_the_same_alone_and_among_32(model, which, solver):
    drawer = model if which == "random" else tiny()
    options = {"solver": solver, "guidance_scale": 2.0}
    together = draw(drawer, PROMPTS, num_images_per_prompt=16, **options)
    for place in (0, 15, 21, 31):
        alone = draw(drawer, PROMPTS[place // 16], seed=3 + place, **options)[0]
        torch.testing.assert_close(alone, together[place], rtol=0, atol=1e-4)


def tiny():
    if not hasattr(tiny, "model"):
        tiny.model = UniMM.from_pretrained("tiny").eval()
    return tiny.model


@pytest.mark.parametrize("solver", SAMPLERS)
def test_every_sampler_follows_the_velocity_of_the_dit(model, solver):
    z = conditions_of(model, PROMPTS[:1])
    sampling = Sampling(4, solver=solver)
    with torch.no_grad():
        *_, expected = draw_states(
            lambda x, t: model.dit(x, t, z), [3], (9, 8), sampling, model.config.settings.alpha, z.device
        )
    for name in ("solver", "sampler"):
        torch.testing.assert_close(draw(model, **{name: solver}), expected.latents, rtol=0, atol=1e-4)


def test_a_grid_may_be_named_and_the_two_names_of_a_solver_must_agree(model):
    other = draw(model, grid="rae")
    assert torch.equal(other, draw(model, grid="rae", solver="euler"))
    assert not torch.allclose(other, draw(model), atol=1e-3)
    with pytest.raises(ValueError, match="solver: it is the sampler by another name"):
        draw(model, sampler="clean", solver="heun")
    with pytest.raises(ValueError, match="did you mean 'karras'"):
        draw(model, grid="karas")


def test_guidance_acts_in_its_interval_alone(model):
    z = conditions_of(model, PROMPTS[:1])
    null = model.dit.null_condition.expand_as(z)
    sampling, alpha = Sampling(4), model.config.settings.alpha
    velocity = guided(lambda x, t: model.dit(x, t, z), lambda x, t: model.dit(x, t, null), 3.0, (0.5, 0.9))
    with torch.no_grad():
        *_, expected = draw_states(velocity, [3], (9, 8), sampling, alpha, z.device)
    found = draw(model, guidance_scale=3.0, guidance_interval=(0.5, 0.9))
    torch.testing.assert_close(found, expected.latents, rtol=0, atol=1e-4)
    assert not torch.allclose(found, draw(model, guidance_scale=3.0), atol=1e-3)
    with pytest.raises(ValueError, match="^guidance_interval: expected"):
        draw(model, guidance_scale=3.0, guidance_interval=(0.9, 0.5))
    with pytest.raises(ValueError, match="^num_inference_steps: the published sampler needs 3 to 1000"):
        model.generate_image(PROMPTS[0], num_inference_steps=2, sampler="scale_rae")


def test_conditions_are_prepared_once_and_the_null_condition_modulates_once_per_picture(model, monkeypatch):
    prepared, original = [], model.dit.prepared
    monkeypatch.setattr(
        model.dit, "prepared", lambda *asked: prepared.append(len(asked[0])) or original(*asked)
    )
    widths = []
    layer = model.dit.blocks[0].modulation
    hook = layer.register_forward_hook(lambda room, inputs, out: widths.append(tuple(inputs[0].shape[:2])))
    draw(model, PROMPTS, guidance_scale=3.0, num_images_per_prompt=2)
    hook.remove()
    assert prepared == [4]
    assert widths == [(4, 9), (4, 1)] * 4


def test_a_negative_prompt_is_read_and_prepared_once(model, monkeypatch):
    prepared, original = [], model.dit.prepared
    monkeypatch.setattr(
        model.dit, "prepared", lambda *asked: prepared.append(len(asked[0])) or original(*asked)
    )
    rows = []
    hook = model.llm.model.register_forward_pre_hook(
        lambda room, args, kwargs: rows.append(len(kwargs["inputs_embeds"])), with_kwargs=True
    )
    draw(model, PROMPTS, guidance_scale=3.0, negative_prompt="a blue heart", num_images_per_prompt=2)
    hook.remove()
    assert (prepared, rows) == ([4, 4], [2, 1])


def test_a_negative_prompt_that_nothing_reads_is_refused(model):
    with pytest.raises(ValueError, match="negative_prompt: it acts with a guidance_scale other than 1"):
        draw(model, negative_prompt="a heart")
    with pytest.raises(ValueError, match="negative_prompt: expected some words"):
        draw(model, negative_prompt=" ", guidance_scale=2.0)
    with pytest.raises(ValueError, match="negative_prompt: expected one text, for all prompts, got list"):
        draw(model, negative_prompt=["a heart"], guidance_scale=2.0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_state_times_and_embedding_are_float32_whatever_the_weights_are(dtype):
    exact, cast = small_model(), small_model().to(dtype)
    seen, embedded, states = [], [], []
    cast.dit.register_forward_hook(lambda room, inputs, out: seen.append((inputs[0].dtype, inputs[1].dtype)))
    cast.dit.time.register_forward_hook(lambda room, inputs, out: embedded.append(out.dtype))
    draw(cast, on_step=lambda step, total, x: states.append(x.dtype), guidance_scale=2.0, solver="heun")
    found, expected = draw(cast), draw(exact)
    assert {*embedded, *states, found.dtype, *(d for pair in seen for d in pair)} == {torch.float32}
    assert 0 < (found - expected).norm() / expected.norm() < 4 * torch.finfo(dtype).eps


def test_passes_of_any_size_draw_the_same_and_are_told_one_after_the_other(model):
    whole, told, seen = draw(model, PROMPTS, num_images_per_prompt=4), [], []
    pieces = draw(
        model,
        PROMPTS,
        num_images_per_prompt=4,
        batch_size=3,
        callback=lambda *step: told.append(step),
        on_step=lambda *step: seen.append(step),
    )
    torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-4)
    assert told == [(step, 12) for step in range(1, 13)]
    assert [(step, total) for step, total, _ in seen] == told
    torch.testing.assert_close(seen[-1][2], pieces[-3:])
    with pytest.raises(ValueError, match="batch_size: expected a whole number of at least 1, got 0"):
        draw(model, batch_size=0)


def test_passes_fit_the_memory_and_small_models_keep_the_usual_size(model, monkeypatch):
    dit = small_settings().dit
    assert pass_size(dit, torch.float32, torch.device("cpu")) == 64
    large = dataclasses.replace(
        dit, width=2048, depth=32, heads=32, channels=1152, grid=16, condition_width=2048
    )
    held = picture_bytes(large, torch.bfloat16)
    assert pass_size(large, torch.bfloat16, torch.device("cpu")) == (1 << 30) // held
    assert picture_bytes(large, torch.float32) > 1.5 * held
    rows = []
    hook = model.dit.register_forward_hook(lambda room, inputs, out: rows.append(len(out)))
    monkeypatch.setattr("unimm.model.memory.CPU_BYTES", 2 * picture_bytes(dit, torch.float32))
    draw(model, num_images_per_prompt=5, num_inference_steps=1)
    hook.remove()
    assert rows == [1, 2, 2]
    monkeypatch.setattr("unimm.model.memory.CPU_BYTES", 1)
    assert pass_size(dit, torch.float32, torch.device("cpu")) == 1, "one picture is always tried"
