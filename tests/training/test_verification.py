"""The closed form of judging is what the judge really multiplies, and it is little beside drawing."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.model.small import small_model, small_settings, small_tokenizer
from tools.count_verification import main
from unimm.llm.qwen import LLMConfig
from unimm.model.verifying import VERIFIERS, asking, judging
from unimm.text.chat import ChatSettings
from unimm.text.tokenizer import encode
from unimm.training.inventory import count_llm
from unimm.training.verification import (
    QWEN_1_5B,
    SYSTEMS,
    Work,
    compared,
    drawing_macs,
    reading_macs,
    verifying_macs,
    works,
)

PROMPT = "two blue circles to the left of a green square"


def tokens(text: str) -> int:
    return len(encode(small_tokenizer(), text))


def work_of(name: str) -> Work:
    """The work of a small model, its templates' tokens counted one by one."""
    chat, prompt = ChatSettings(), tokens(PROMPT)
    head, end = 1 + tokens("user\n"), 1 + tokens("\n")
    reply = end + 1 + tokens("assistant\n")
    question = tokens(chat.verifier_question.replace("{prompt}", PROMPT))
    asked = 9 + 1 + tokens("\n") + question + reply
    told = 9 + 1 + tokens("\n") + tokens(chat.caption_request) + reply + prompt
    drawn = head + tokens(chat.generate_template.replace("{prompt}", PROMPT)) + reply + 1
    return {
        "answer_logits": Work(head + 1, asked, 1, 2),
        "p_yes": Work(head + 1, asked, 0, 1),
        "prompt_confidence": Work(head + 1, told, 0, prompt),
        "prompt_likelihood": Work(head + 1, told, 0, prompt),
        "image_confidence": Work(drawn, 9, 0, 9),
    }[name]


@pytest.mark.parametrize("name", VERIFIERS)
def test_the_closed_form_is_what_is_multiplied(name, monkeypatch):
    monkeypatch.setattr(asking, "MAX_ANSWER_TOKENS", 2)  # a random model does not end its turn
    model, latents = small_model(), torch.randn(4, 9, 8, generator=torch.Generator().manual_seed(0))
    model.llm.set_attn_implementation("eager")  # the counter knows no fused kernel of a CPU
    with FlopCounterMode(display=False) as counter:
        judging(model, [PROMPT], name)(latents, [0] * 4)
    projector = 9 * (8 * 16 + 16 * 16)
    expected = verifying_macs(small_settings().llm, work_of(name), 4, projector) * 4
    assert counter.get_total_flops() // 2 == pytest.approx(expected, abs=4)  # of what is shared a rest of 4


@pytest.mark.parametrize("positions", [1, 300])
def test_reading_costs_what_the_network_counts(positions):
    for config in (QWEN_1_5B, LLMConfig(40, 16, 2, 4, 2, 24)):
        counted = sum(found.macs for found in count_llm(config, positions).values())
        assert reading_macs(config, positions) == counted


def test_reading_in_two_pieces_saves_the_look_ahead_of_the_first():
    llm = LLMConfig(40, 16, 2, 4, 2, 24)
    whole, pieces = reading_macs(llm, 30), reading_macs(llm, 10) + reading_macs(llm, 20, before=10)
    assert whole - pieces == 2 * 2 * 10 * 20 * 16


def test_the_published_sizes_are_of_their_names():
    for name, system in SYSTEMS.items():
        layers = reading_macs(system.llm, 1) - 2 * system.llm.depth * system.llm.width
        head = system.llm.width * system.llm.vocab_size * (1 if system.llm.tied_embeddings else 2)
        billions = float(name.split()[1].removesuffix("B"))
        assert (layers + head) / 1e9 == pytest.approx(billions, rel=0.09), name


@pytest.mark.parametrize("name", SYSTEMS)
def test_judging_costs_less_than_a_tenth_of_drawing(name):
    for candidates in (1, 8, 32):
        shares = compared(name, candidates)
        assert set(shares) == set(VERIFIERS)
        assert all(0.005 < share <= 0.1 for share in shares.values()), shares
    assert compared(name, steps=25)["p_yes"] == pytest.approx(2 * compared(name)["p_yes"])


def test_guidance_doubles_drawing_and_candidates_share_what_is_shared():
    system = SYSTEMS["Scale-RAE 1.5B + 2.4B"]
    assert drawing_macs(system, 50, guided=True) == 2 * drawing_macs(system, 50)
    work = works(256)["image_confidence"]
    alone, of_many = (verifying_macs(system.llm, work, n, 0) for n in (1, 10**9))
    assert alone - of_many == pytest.approx(reading_macs(system.llm, work.shared), abs=100)


def test_the_table_is_printed_and_a_mistake_is_one_line(capsys):
    assert main(["--best-of", "4"]) == 0
    shown = capsys.readouterr().out
    assert "Best of 4" in shown
    assert all(name in shown for name in VERIFIERS)
    assert main(["--steps", "0"]) == 2
    assert capsys.readouterr().err.startswith("--steps: expected a whole number")
