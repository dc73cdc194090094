"""P(yes): of the probability that an answer begins with yes or no, the share of yes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def p_yes(logits: Tensor, yes: Sequence[int], no: Sequence[int]) -> Tensor:
    """Return P(yes) / (P(yes) + P(no)) in [0, 1], float64 [B], at the first position of an answer.

    What the answer is, and what else might be said, plays no part.

    Args:
        logits: [B V] raw.
        yes: ids that mean yes; their probabilities are added.
        no: ids that mean no.

    Raises:
        ValueError: one of the two has no id.
    """
    if not yes or not no:
        raise ValueError(f"p_yes: expected tokens that mean yes and no, got {len(yes)} and {len(no)}")
    mass = [logits[:, list(ids)].double().logsumexp(-1) for ids in (yes, no)]
    return torch.sigmoid(mass[0] - mass[1])
