"""What callers ask for: one door for counts, prompts and seeds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unimm.request import check_output_type, generator_of, noise_of, passes, positive, prompt_list, seed_rows


def test_seeds_follow_one_another_within_and_between_requests():
    assert seed_rows(5, 2, 3) == [[5, 6, 7], [8, 9, 10]]
    assert seed_rows([5, 40], 2, 2) == [[5, 6], [40, 41]]
    assert seed_rows(np.int64(5), 1, np.int64(2)) == seed_rows(np.array([5]), 1, 2) == [[5, 6]]
    torch.manual_seed(0)
    rows = seed_rows(None, 2, 2)
    assert rows[1][0] == rows[0][0] + 2


def test_noise_belongs_to_its_seed():
    noise = noise_of([3, 9], 4, 2)
    assert torch.equal(noise[1], torch.randn(4, 2, generator=torch.Generator().manual_seed(9)))
    assert noise.dtype == torch.float32


@pytest.mark.parametrize("power", [32, 40, 48, 63])
def test_seeds_that_differ_beyond_32_bits_give_other_noise(power):
    """torch's generator on the CPU takes the lowest 32 bits alone."""
    one, two, three = noise_of([7, 7 + 2**power, 2**64 - 1], 8)
    assert not torch.equal(one, two)
    assert not torch.equal(two, three)
    assert torch.equal(one, torch.randn(8, generator=torch.Generator().manual_seed(7)))
    assert torch.equal(two, torch.randn(8, generator=generator_of(7 + 2**power)))


def test_passes_cover_everything_once(monkeypatch):
    monkeypatch.setattr("unimm.request.PASS", 4)
    assert [(piece.start, piece.stop) for piece in passes(9)] == [(0, 4), (4, 8), (8, 9)]
    assert list(passes(0)) == []


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: positive("num_inference_steps", 0), "num_inference_steps: expected a whole number of at le"),
        (lambda: positive("n", True), "n: expected a whole number of at least 1, got True"),
        (lambda: prompt_list([]), "prompt: expected text or a list of texts"),
        (lambda: prompt_list(["a", 3]), r"prompt\[1\]: expected text, got int"),
        (lambda: prompt_list("  "), "prompt: expected some words"),
        (
            lambda: seed_rows([1], 2, 1, "labels"),
            "seed: expected one number, or one for each of 2 labels, got 1",
        ),
        (lambda: seed_rows(-1, 1, 1), "seed: expected a whole number of 0 or more, got -1"),
        (lambda: seed_rows([3, 1.5], 2, 1), "seed: expected a whole number of 0 or more, got 1.5"),
        (lambda: seed_rows(2**64, 1, 1), r"seed: expected a number below 2\*\*64, got 18446744073709551616"),
        (lambda: seed_rows(2**64 - 1, 1, 2), r"seed: expected a number below 2\*\*64"),
        (lambda: seed_rows([3, 2**64 - 1], 2, 2), r"seed: expected a number below 2\*\*64"),
        (lambda: seed_rows("7", 1, 1), "seed: expected a whole number of 0 or more, got '7'"),
        (lambda: check_output_type("png"), "output_type: expected 'pil', 'pt', 'np' or 'latent', got 'png'"),
    ],
)
def test_what_cannot_be_is_named(ask, message):
    with pytest.raises(ValueError, match=message):
        ask()
