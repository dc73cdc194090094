"""Answer Logits (arXiv 2601.16208, test-time scaling): does the model say yes, and how strongly?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

NEITHER = -1e4  # score of an answer that says neither yes nor no; below any real one, yet a number


def answer_logits(tokens: Tensor, logits: Tensor, yes: Sequence[int], no: Sequence[int]) -> Tensor:
    """Return one score per answer, float64 [B]; sorting by it is the paper's ranking.

    Answers that say yes come first, by larger raw logit of that yes; then those that say no, by smaller raw
    logit of that no; then those that say neither. If both occur it is a yes, and the last such token
    counts. To be one number, a logit l becomes softplus(l) for yes and -softplus(l) for no: the sign is the
    answer, and softplus keeps the order.

    Args:
        tokens: [B L] the greedy answers.
        logits: [B L V] what they were chosen from.
        yes: ids that mean yes.
        no: ids that mean no.
    """
    said = logits.gather(-1, tokens[..., None])[..., 0].double()
    yes_logit, says_yes = _last(said, tokens, yes)
    no_logit, says_no = _last(said, tokens, no)
    refused = torch.where(says_no, -F.softplus(no_logit), NEITHER)
    return torch.where(says_yes, F.softplus(yes_logit), refused)


def _last(said: Tensor, tokens: Tensor, ids: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return the logit of the last token among `ids`, [B], and whether there is one, [B]."""
    hit = torch.isin(tokens, torch.tensor(list(ids), device=tokens.device))
    place = torch.where(hit, torch.arange(tokens.shape[1], device=tokens.device), -1).amax(dim=1)
    return said.gather(1, place.clamp(min=0)[:, None])[:, 0], place >= 0
