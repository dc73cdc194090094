"""unimm.training.inference.memory: what is computed is what is held, stage by stage."""

from __future__ import annotations

import pytest
import torch

from tests.model.small import small_tokenizer
from unimm.dit.config import DDTConfig, DiTConfig
from unimm.dit.sit import SiTConfig
from unimm.latents.decoder import DecoderConfig
from unimm.latents.encoder import EncoderConfig
from unimm.llm.qwen import LLMConfig
from unimm.model import ModelSettings, UniMM, UniMMConfig
from unimm.model.drawing import Sampling, conditions_of, draw_latents, show
from unimm.model.drawing.budget import picture_bytes
from unimm.model.verifying import judging
from unimm.training.inference.memory import drawing_memory, weight_bytes
from unimm.training.inference.peak import Peak
from unimm.training.inference.subjects import settings_of

PROMPTS = ["a red star", "two blue circles", "three green hearts"]
SIZES = {"channels": 48, "width": 96, "depth": 2, "heads": 4, "condition_width": 96, "grid": 8}
BODIES = {
    "lightning": DiTConfig(**SIZES),
    "wide": DiTConfig(**SIZES, mlp_width=600),
    "ddt": DDTConfig(**SIZES, head_width=160, head_depth=1, head_heads=4),
    "sit": SiTConfig(**SIZES, patch_size=1, num_classes=None),
}


def model_of(dtype: torch.dtype, body: str = "lightning") -> UniMM:
    settings = ModelSettings(
        encoder=EncoderConfig(32, 4, 48, 1, 2, 96),
        decoder=DecoderConfig(48, 64, depth=2, heads=2, mlp_width=256, patch_size=4, grid=8),
        llm=LLMConfig(300, 96, 3, 4, 2, 384, 512),
        body="lightning" if body == "wide" else body,
        dit=BODIES[body],
        num_queries=64,
    )
    model = UniMM(UniMMConfig(settings)).to(dtype).eval()
    model.tokenizer = small_tokenizer()
    return model


def most(run) -> int:
    with Peak() as peak:
        run()
    return peak.most


@pytest.mark.parametrize("pictures", [1, 6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_stage_takes_what_is_computed(dtype, pictures):
    model, prompts = model_of(dtype), PROMPTS[:1] if pictures == 1 else PROMPTS
    places = [index % len(prompts) for index in range(pictures)]
    rows = conditions_of(model, prompts)
    length = 64 + len(model.tokenizer("Generate an image of two blue circles").input_ids) + 8
    computed = drawing_memory(
        model.config.settings, dtype, pictures, len(prompts), judged=True, prompt=length - 64
    )
    sampling = Sampling(1)
    drawn = draw_latents(model, rows, list(range(pictures)), sampling, owners=places)
    kept = drawn[: len(prompts), None]
    found = {
        "prefill": most(lambda: conditions_of(model, prompts)),
        "draw": most(lambda: draw_latents(model, rows, list(range(pictures)), sampling, owners=places)),
        "judge": most(lambda: judging(model, prompts, "answer_logits")(drawn, places)),
        "decode": most(lambda: show(model, kept, "pt")),
    }
    for stage, measured in found.items():
        assert getattr(computed, stage) == pytest.approx(measured, rel=0.2), stage


@pytest.mark.parametrize("best_of", [1, 6])
@pytest.mark.parametrize("body", BODIES)
def test_the_whole_takes_what_is_computed(body, best_of):
    model = model_of(torch.float32, body)
    computed = drawing_memory(model.config.settings, torch.float32, 3 * best_of, 3, judged=best_of > 1)
    options = {"num_inference_steps": 2, "best_of": best_of, "seed": 0, "output_type": "pt"}
    measured = most(lambda: model.generate_image(PROMPTS, **options))
    assert computed.activations == pytest.approx(measured, rel=0.2)
    assert computed.total == pytest.approx(measured + computed.weights, rel=0.15)


def test_weights_are_counted_as_they_are_stored():
    model = model_of(torch.bfloat16)
    held = sum(x.nbytes for x in model.parameters())
    tables = sum(x.nbytes for x in model.buffers())
    assert weight_bytes(model.config.settings, torch.bfloat16) == pytest.approx(held + tables, rel=0.01)


def test_the_published_models_take_two_bytes_a_weight_and_little_more():
    memory = drawing_memory(settings_of("1.5B+2.4B"), torch.bfloat16)
    assert 2 * (1.54e9 + 2.43e9 + 0.41e9 + 0.40e9) < memory.weights < 2 * 4.9e9
    assert memory.total < 1.01 * memory.weights
    large = drawing_memory(settings_of("7B+9.8B"), torch.bfloat16)
    assert 36e9 < large.weights < 37e9


def test_more_pictures_take_more_up_to_a_pass():
    settings = settings_of("1.5B+2.4B")
    one, eight, many, more = (
        drawing_memory(settings, torch.bfloat16, n, judged=True) for n in (1, 8, 64, 640)
    )
    assert eight.draw == 8 * one.draw == 8 * picture_bytes(settings.dit, torch.bfloat16)
    assert (more.draw, more.judge, more.decode) == (many.draw, many.judge, one.decode)
    assert more.held > many.held
    assert one.activations == one.held + max(one.prefill, one.draw, one.judge, one.decode)
