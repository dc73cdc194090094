"""Of many candidates the best are kept, whatever the judge does, and nothing is made that is thrown away."""

from __future__ import annotations

import math

import pytest
import torch

from tests.model.scripted import DRAW, END, script
from tests.model.small import small_model
from unimm.chat import Conversation
from unimm.model.verifying import on_pixels
from unimm.model.verifying.calibrated import conditions_of
from unimm.verify.calibration import Calibration
from unimm.verify.calibrations import Calibrations

PROMPTS = ["a red star", "two blue circles"]
STEPS = {"num_inference_steps": 3}  # the least of the published sampler


@pytest.fixture
def model():
    return small_model(seed=1)


def draw(model, prompt=PROMPTS, **options):
    return model.generate_image(prompt, **{**STEPS, "seed": 0, "output_type": "latent", **options})


def brightness(latents, prompts):
    return latents.mean((1, 2))


def calibrated(model, *names):
    """A model whose scores are probabilities: p = 0.1 below 0, 0.9 above 1."""
    maps = {name: Calibration("isotonic", (0.0, 1.0), (0.1, 0.9), 9, {}) for name in names}
    model.calibrations = Calibrations(maps, None, conditions_of(model))
    return model


@pytest.fixture
def calls(model, monkeypatch):
    """How many pictures go through the encoder, the decoder and the rows of the DiT."""
    counts = {"encoder": 0, "decoder": 0, "dit": 0}

    def count(name, room, number):
        method = getattr(room, name)
        monkeypatch.setattr(
            room, name, lambda x, *more: counts.update({number: counts[number] + len(x)}) or method(x, *more)
        )

    count("encode", model.encoder, "encoder")
    count("decode", model.decoder, "decoder")
    model.dit.register_forward_hook(lambda dit, inputs, out: counts.update(dit=counts["dit"] + len(out)))
    return counts


@pytest.mark.parametrize("verifier", ["answer_logits", "image_confidence", "p_yes"])
def test_the_best_of_eight_decodes_one_and_encodes_none(model, calls, verifier):
    model.generate_image(PROMPTS[0], best_of=8, verifier=verifier, seed=0, **STEPS)
    assert calls == {"encoder": 0, "decoder": 1, "dit": 24}


def test_a_drawn_picture_is_talked_about_without_being_decoded_or_encoded(model, calls, monkeypatch):
    script(model, monkeypatch, "Here: ", DRAW, END, "a star", END, "yes", END)
    talk = Conversation(model, max_new_tokens=6, num_inference_steps=3, seed=0)
    talk.say("Draw a red star.")
    assert calls["decoder"] == 1, "it was shown"
    calls.update(encoder=0, decoder=0)
    talk.say("What is it?")
    talk.say("Sure?")
    assert (calls["encoder"], calls["decoder"]) == (0, 0)


def test_a_scorer_of_pictures_has_every_candidate_decoded(model, calls):
    model.generate_image(
        PROMPTS[0], best_of=5, verifier=on_pixels(lambda images, prompts: range(5)), seed=0, **STEPS
    )
    assert calls["decoder"] == 6


def test_more_candidates_than_memory_holds_are_drawn_and_judged_in_pieces(model, monkeypatch):
    whole = draw(model, best_of=7, num_images_per_prompt=2)
    passes = []
    model.llm.model.register_forward_hook(lambda llm, inputs, out: passes.append(len(out[0])))
    monkeypatch.setattr("unimm.model.memory.CPU_BYTES", 1)
    pieces = draw(model, best_of=7, num_images_per_prompt=2)
    assert max(passes) <= 2, "prompts are read together, candidates one by one"
    assert pieces.seeds == whole.seeds
    assert pieces.scores == pytest.approx(whole.scores, abs=1e-5)
    torch.testing.assert_close(pieces.latents, whole.latents, rtol=0, atol=1e-4)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_candidate_whose_score_is_no_number_is_last_and_reported(model, broken):
    every = draw(model, num_images_per_prompt=4)
    best = brightness(every.latents, None).unflatten(0, (2, 4)).argmax(1).tolist()

    def judge(latents, prompts):
        scores = brightness(latents, prompts)
        scores[[best[0]]] = broken
        return scores

    found = draw(model, best_of=4, verifier=judge)
    assert found.failed == ((0, best[0]),)
    assert found.seeds[0] != best[0]
    assert found.seeds[1] == 4 + best[1]
    everything = draw(model, best_of=4, num_images_per_prompt=4, verifier=judge)
    assert everything.seeds[3] == best[0]
    assert math.isnan(everything.scores[3])


def test_where_no_score_is_a_number_the_first_drawn_is_kept(model):
    found = draw(model, best_of=3, verifier=lambda z, prompts: [math.nan] * len(z))
    assert found.seeds == [0, 3]
    assert all(map(math.isnan, found.scores))
    assert found.failed == tuple((p, 3 * p + i) for p in range(2) for i in range(3))


def test_a_large_margin_ends_the_drawing_of_its_prompt(model):
    def judge(latents, prompts):
        """The first prompt's first candidate is far ahead."""
        best = [
            prompt == PROMPTS[0] and torch.allclose(z, first, atol=1e-4)
            for z, prompt in zip(latents, prompts, strict=True)
        ]
        return 10.0 * torch.tensor(best) + brightness(latents, prompts)

    first = draw(model, PROMPTS[0], best_of=2, verifier=lambda z, p: [1.0, 0.0]).latents[0]
    found = draw(model, best_of=8, verifier=judge, stop_margin=5.0)
    assert found.drawn == [2, 8]
    assert found.seeds[0] == 0
    assert found.seeds[1] == draw(model, best_of=8, verifier=judge).seeds[1]


def test_a_probability_that_is_high_enough_ends_the_drawing(model):
    calibrated(model, "p_yes")
    scores = model.verify(
        draw(model, num_images_per_prompt=8).latents, [p for p in PROMPTS for _ in range(8)], "p_yes"
    )
    level = 0.1 + 0.8 * max(scores[:2]) - 1e-4  # one of the first two of the first prompt reaches it
    found = draw(model, best_of=8, verifier="p_yes", stop_probability=level)
    assert found.drawn[0] == 2
    assert found.probabilities == pytest.approx([0.1 + 0.8 * s for s in found.scores])
    assert draw(model, best_of=8, verifier="p_yes", stop_probability=1.0).drawn == [8, 8]


@pytest.mark.parametrize(
    ("margin", "expected"), [(1e9, [1, 2, 3, 4, 5, 6, 8, 10, 12]), (1e-9, [1, 2, 3, 12])]
)
def test_steps_are_told_of_one_total_through_all_rounds(model, margin, expected):
    told, seen = [], []
    draw(
        model,
        PROMPTS[0],
        best_of=8,
        verifier=brightness,
        stop_margin=margin,
        callback=lambda *step: told.append(step),
        on_step=lambda *step: seen.append(step[:2]),
    )
    assert told == [(step, 12) for step in expected], "rounds of 2, 2 and 4, each of 3 steps"
    assert seen == [step for step in told if step in seen]
    assert len(seen) == len(told) - (margin < 1), "an end that no step reached has no latents to show"


def test_probabilities_come_with_the_pictures_where_the_verifier_is_calibrated(model):
    assert draw(model, best_of=2).probabilities is None
    calibrated(model, "answer_logits")
    assert draw(model, best_of=2, verifier="p_yes").probabilities is None
    found = draw(model, best_of=4, num_images_per_prompt=2)
    expected = [min(0.9, max(0.1, 0.1 + 0.8 * score)) for score in found.scores]
    assert found.probabilities == pytest.approx(expected)
    assert draw(model).probabilities is None
    model.profile = "reference"
    assert draw(model, best_of=2).probabilities is None, "measured on other scores"


def test_no_probability_is_told_of_prompts_with_pictures(model):
    calibrated(model, "p_yes")
    options = {"best_of": 2, "verifier": "p_yes"}
    assert draw(model, PROMPTS, **options).probabilities is not None
    context = torch.randn(9, 8, generator=torch.Generator().manual_seed(0))
    found = draw(model, PROMPTS, images=[[context], []], **options)
    assert found.probabilities is None
    assert found.scores != draw(model, PROMPTS, **options).scores
    with pytest.raises(ValueError, match="stop_probability: nothing is calibrated for prompts with pictures"):
        draw(model, PROMPTS[0], images=context, stop_probability=0.5, **options)


def test_verify_tells_probabilities_on_request(model):
    calibrated(model, "p_yes")
    latents = draw(model, num_images_per_prompt=2).latents
    scores = model.verify(latents, PROMPTS[0], "p_yes")
    told = model.verify(latents, PROMPTS[0], "p_yes", probabilities=True)
    assert told.scores == scores
    assert told.probabilities == pytest.approx([0.1 + 0.8 * score for score in scores])
    with pytest.raises(ValueError, match=r"calibrated for \(p_yes\), got 'answer_logits'"):
        model.verify(latents, PROMPTS[0], probabilities=True)


def test_verify_reads_a_prompt_that_occurs_twice_once(model):
    latents = draw(model, num_images_per_prompt=2).latents
    prompts = [PROMPTS[1], PROMPTS[0], PROMPTS[1], PROMPTS[0]]
    read = []
    hook = model.llm.model.register_forward_hook(lambda llm, inputs, out: read.append(len(out[0])))
    scores = model.verify(latents, prompts, "image_confidence")
    hook.remove()
    assert read == [2, 4]
    alone = [model.verify(z, p, "image_confidence")[0] for z, p in zip(latents, prompts, strict=True)]
    assert scores == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stop_margin": 1.0}, "need a choice to make"),
        ({"verifier": "p_yes", "stop_margin": 1.0}, "need a choice to make"),
        ({"best_of": 4, "stop_margin": 0.0}, "stop_margin: expected a number above 0"),
        ({"best_of": 4, "stop_margin": math.nan}, "stop_margin: expected a number above 0"),
        ({"best_of": 4, "stop_margin": "far"}, "stop_margin: expected a number above 0, got 'far'"),
        ({"best_of": 4, "stop_margin": True}, "stop_margin: expected a number above 0, got True"),
        ({"best_of": 4, "stop_probability": "0.5"}, "stop_probability: expected .* up to 1, got '0.5'"),
        ({"best_of": 4, "verifier": ["p_yes"]}, r"verifier: expected a function .* got \['p_yes'\]"),
        ({"best_of": 4, "stop_margin": 1.0, "stop_probability": 0.5}, "expected one of them"),
        ({"best_of": 4, "stop_probability": 1.5}, "stop_probability: expected a number above 0 and up to 1"),
        ({"best_of": 4, "stop_probability": 0.5}, r"calibrated for \(none\), got 'answer_logits'"),
        ({"best_of": 4, "verifier": "p_yess"}, "did you mean 'p_yes'"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_drawn(model, calls, options, words):
    with pytest.raises(ValueError, match=words):
        draw(model, **options)
    assert calls["dit"] == 0
