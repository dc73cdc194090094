"""How well pictures fit their texts, by embeddings in one space: CLIP scores and SigLIP scores of pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from unimm.evaluation.metrics.features import expect_features
from unimm.tables import pick

CLIP_SCORES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    # Hessel et al. 2021, equation 1.
    "clip_score_w2.5": lambda cosines: 2.5 * np.maximum(cosines, 0),
    # torchmetrics: the mean of these, and 0 where that is below 0.
    "clip_score_x100": lambda cosines: 100 * cosines,
}
"""What goes by the name of CLIP score, from cosines [n]; they do not compare, so the key says which."""


def cosines(images: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Return the cosine of each pair, [n].

    Args:
        images: [n d] embeddings, of any length above 0.
        texts: [n d].

    Raises:
        ValueError: other shapes, an embedding of length 0, or numbers that are not finite.
    """
    rows = [expect_features(name, each) for name, each in (("images", images), ("texts", texts))]
    if rows[0].shape != rows[1].shape:
        raise ValueError(f"embeddings: expected pairs, got shapes {rows[0].shape} and {rows[1].shape}")
    lengths = [np.linalg.norm(each, axis=1) for each in rows]
    if not all(each.all() for each in lengths):
        raise ValueError("embeddings: expected lengths above 0, got some of length 0")
    return np.einsum("nd,nd->n", *rows) / np.multiply(*lengths)


def clip_score(images: np.ndarray, texts: np.ndarray, variant: str = "clip_score_w2.5") -> np.ndarray:
    """Return the CLIP score of each pair, [n], under one of `CLIP_SCORES`; the rest is as of `cosines`."""
    return pick("clip score", variant, CLIP_SCORES)(cosines(images, texts))


def siglip_score(images: np.ndarray, texts: np.ndarray, scale: float, bias: float) -> np.ndarray:
    """Return the probability in [0, 1] that SigLIP gives each pair, [n].

    Zhai et al. 2023: the logistic function of scale * cosine + bias.

    Args:
        images: [n d] embeddings.
        texts: [n d].
        scale: the model's, exp of its `logit_scale`.
        bias: the model's `logit_bias`.
    """
    return 1 / (1 + np.exp(-(scale * cosines(images, texts) + bias)))
