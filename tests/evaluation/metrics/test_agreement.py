"""CLIP and SigLIP scores by closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from unimm.evaluation.metrics import CLIP_SCORES, clip_score, cosines, siglip_score

IMAGES = np.array([[3.0, 0.0], [0.0, 2.0], [1.0, 1.0], [1.0, 0.0]])
TEXTS = np.array([[5.0, 0.0], [7.0, 0.0], [2.0, 0.0], [-1.0, 0.0]])


def test_cosines_do_not_see_lengths():
    assert cosines(IMAGES, TEXTS) == pytest.approx([1, 0, 0.5**0.5, -1])


@pytest.mark.parametrize(
    ("variant", "expected"),
    [("clip_score_w2.5", [2.5, 0, 2.5 * 0.5**0.5, 0]), ("clip_score_x100", [100, 0, 100 * 0.5**0.5, -100])],
)
def test_each_variant_is_named(variant, expected):
    assert variant in CLIP_SCORES
    assert clip_score(IMAGES, TEXTS, variant) == pytest.approx(expected)


def test_siglip_is_a_probability():
    expected = [1 / (1 + np.exp(-(4 * cosine - 1))) for cosine in (1, 0, 0.5**0.5, -1)]
    assert siglip_score(IMAGES, TEXTS, scale=4, bias=-1) == pytest.approx(expected)


def test_what_is_no_pair_is_refused():
    with pytest.raises(ValueError, match="expected pairs"):
        cosines(IMAGES, TEXTS[:3])
    with pytest.raises(ValueError, match="length 0"):
        cosines(0 * IMAGES, TEXTS)
    with pytest.raises(ValueError, match="did you mean 'clip_score_x100'"):
        clip_score(IMAGES, TEXTS, "clip_score_100")
