"""Answer Logits (arXiv 2601.16208, test-time scaling): does the model say yes, and how strongly?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

NEITHER = -1e4  # score of an answer that says neither yes nor no; below any real one, yet a number


def answer_logits(tokens: Tensor, logits: Tensor, yes: Sequence[int], no: Sequence[int]) -> Tensor:
    """Return one score per answer, float64 [B]; sorting by it is the paper's ranking.

    If an answer holds both a yes and a no it is a yes, and the last such token counts.

    Args:
        tokens: [B L] the greedy answers.
        logits: [B L] raw, of these tokens.
        yes: ids that mean yes.
        no: ids that mean no.
    """
    yes_logit, says_yes = _last(logits.double(), tokens, yes)
    no_logit, says_no = _last(logits.double(), tokens, no)
    verdict = answer_score(says_yes, yes_logit, no_logit)
    return torch.where(says_yes | says_no, verdict, NEITHER)


def answer_score(says_yes: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """Return the ranking of answers as one number each, float64 [B]; larger is better.

    Those that say yes come first, by how strongly they say it; then those that say no, the weakest first. To
    be one number, a strength s becomes softplus(s) for yes and -softplus(s) for no: the sign is the answer,
    and softplus keeps the order.

    Args:
        says_yes: bool [B].
        yes: [B] strength of a yes, such as its raw logit; read where there is one.
        no: [B] strength of a no; read elsewhere.
    """
    return torch.where(says_yes, F.softplus(yes.double()), -F.softplus(no.double()))


def _last(said: Tensor, tokens: Tensor, ids: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return the logit of the last token among `ids`, [B], and whether there is one, [B]."""
    hit = torch.isin(tokens, torch.tensor(list(ids), device=tokens.device))
    place = torch.where(hit, torch.arange(tokens.shape[1], device=tokens.device), -1).amax(dim=1)
    return said.gather(1, place.clamp(min=0)[:, None])[:, 0], place >= 0
