"""unimm.training.inference.stopwatch: every second is counted, in the stage whose room spent it."""

from __future__ import annotations

import pytest

from tests.model.small import small_model
from unimm.training.inference.naive import best_naively
from unimm.training.inference.stopwatch import Stopwatch

DIT, LLM, DECODER, ENCODER = 1000, 100, 10, 1


class Clock:
    """A clock that runs while rooms work, by as much as each takes."""

    def __init__(self, model):
        self.now, self.waits = 0, 0
        rooms = {
            model.dit: DIT,
            model.llm.model: LLM,
            model.decoder: DECODER,
            model.encoder.embeddings: ENCODER,
        }
        for room, cost in rooms.items():
            room.register_forward_hook(lambda *_, cost=cost: self.spend(cost))

    def spend(self, cost):
        self.now += cost

    def settle(self):
        self.waits += 1

    def watching(self, model):
        return Stopwatch(model, lambda: self.now, self.settle)


def test_best_of_n_prefills_draws_judges_and_decodes():
    model = small_model()
    clock = Clock(model)
    with clock.watching(model) as watch:
        model.generate_image(["a star", "two hearts"], best_of=3, num_inference_steps=5, batch_size=6, seed=0)
    assert watch.seconds["prefill"] == LLM
    assert watch.seconds["draw"] == 5 * DIT
    assert watch.seconds["judge"] % LLM == 0
    assert watch.seconds["judge"] >= 2 * LLM, "what is shared, and the candidates"
    assert watch.seconds["decode"] == DECODER
    assert watch.seconds["encode"] == 0
    assert watch.total == clock.now
    assert clock.waits < 10, "the device is waited for between stages alone"


def test_the_naive_order_encodes_what_it_decoded():
    model = small_model()
    clock = Clock(model)
    with clock.watching(model) as watch:
        best_naively(model, ["a star", "two hearts"], 3, num_inference_steps=2, batch_size=1)
    assert watch.seconds["prefill"] == 6 * LLM
    assert watch.seconds["draw"] == 12 * DIT
    assert watch.seconds["decode"] == 6 * DECODER
    assert watch.seconds["encode"] == 6 * ENCODER
    assert watch.total == clock.now


def test_nothing_is_watched_afterwards_not_even_after_an_error():
    model = small_model()
    before = sum(len(room._forward_pre_hooks) for room in model.modules())
    with pytest.raises(ValueError, match="prompt"), Clock(model).watching(model):
        model.generate_image("", seed=0)
    assert sum(len(room._forward_pre_hooks) for room in model.modules()) == before
