"""unimm.training.inference.counted: the closed form is what is multiplied, in both orders."""

from __future__ import annotations

import pytest
from torch.utils.flop_counter import FlopCounterMode

from tests.model.small import small_model, small_settings
from tests.training.test_verification import PROMPT, work_of
from unimm.training.inference import counted
from unimm.training.inference.counted import counted_choice
from unimm.training.inference.naive import best_naively
from unimm.training.inference.subjects import PUBLISHED, answer_yes, settings_of


@pytest.fixture
def model():
    model = small_model()
    answer_yes(model)
    model.llm.set_attn_implementation("eager")  # the counter knows no fused kernel of a CPU
    model.dit.blocks[0].attention.attend = explicit
    for part in model.modules():
        if hasattr(part, "config") and hasattr(part.config, "_attn_implementation"):
            part.config._attn_implementation = "eager"
    return model


def explicit(q, k, v):
    return (q @ k.mT).softmax(-1) @ v


def multiplied(run) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() // 2


def test_both_orders_multiply_what_is_counted(model, monkeypatch):
    monkeypatch.setattr("unimm.latents.decoder.attend", explicit)
    work, generate = work_of("answer_logits"), work_of("image_confidence").shared
    monkeypatch.setattr(counted, "works", lambda latents: {"answer_logits": work})
    for name, value in (("OPENING", 0), ("GENERATE", generate), ("PROMPT", 0)):
        monkeypatch.setattr(counted, name, value)
    ours, naively = counted_choice(small_settings(), 3, 4)
    options = {"num_inference_steps": 4, "seed": 0}
    found = multiplied(lambda: model.generate_image(PROMPT, best_of=3, **options))
    assert found == pytest.approx(sum(ours.values()), abs=3), "of what is shared a rest of 3"
    found = multiplied(lambda: best_naively(model, [PROMPT], 3, **options))
    assert found == sum(naively.values())


def test_the_naive_order_multiplies_more_in_every_stage_but_drawing():
    for name in PUBLISHED:
        ours, naively = counted_choice(settings_of(name))
        assert ours["draw"] == naively["draw"]
        assert naively["prefill"] == 8 * ours["prefill"]
        assert naively["decode"] == 8 * ours["decode"]
        assert naively["judge"] > 1.9 * ours["judge"]
        assert ours["encode"] == 0 < naively["encode"]
        assert 1.02 < sum(naively.values()) / sum(ours.values()) < 1.1
