"""Vectors stand exactly where their placeholders stood, and a misfit is loud."""

from __future__ import annotations

import pytest
import torch

from unimm.llm.splice import gather, splice
from unimm.parts import Run

RUNS = (Run(0, 1, 2), Run(1, 0, 2), Run(1, 3, 2))


def test_each_run_holds_its_image_and_nothing_else_moves():
    embeds, vectors = torch.randn(2, 5, 4), torch.randn(3, 2, 4)
    out = splice(embeds, vectors, RUNS)
    expected = embeds.clone()
    for run, image in zip(RUNS, vectors, strict=True):
        for offset in range(run.length):
            expected[run.row, run.start + offset] = image[offset]
    assert torch.equal(out, expected)
    assert torch.equal(gather(out, RUNS), vectors)


def test_the_input_is_not_modified_and_gradients_reach_both():
    embeds = torch.randn(2, 5, 4, requires_grad=True)
    vectors = torch.randn(3, 2, 4, requires_grad=True)
    before = embeds.detach().clone()
    splice(embeds, vectors, RUNS).sum().backward()
    assert torch.equal(embeds, before)
    assert vectors.grad.unique().tolist() == [1.0]
    assert embeds.grad.sum() == (10 - 6) * 4, "a replaced embedding gets no gradient"


def test_vectors_take_the_dtype_of_the_text():
    assert splice(torch.zeros(2, 5, 4), torch.ones(3, 2, 4).bfloat16(), RUNS).dtype == torch.float32


@pytest.mark.parametrize(
    ("vectors", "runs", "words"),
    [
        (torch.zeros(2, 2, 4), RUNS, "2 images for 3 runs"),
        (torch.zeros(3, 3, 4), RUNS, "expected 2 vectors for the run at row 0, got 3"),
        (torch.zeros(1, 2, 4), (Run(0, 4, 2),), "leaves a text of 2 rows and 5 positions"),
        (torch.zeros(1, 2, 4), (Run(2, 0, 2),), "leaves a text"),
        (torch.zeros(3, 2, 7), RUNS, r"\[I N D\]"),
    ],
)
def test_a_misfit_is_named(vectors, runs, words):
    with pytest.raises(ValueError, match=words):
        splice(torch.zeros(2, 5, 4), vectors, runs)
