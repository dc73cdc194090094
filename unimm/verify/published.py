"""How the published code picks the best drawings of a prompt from what it logged about each.

Scale-RAE (github.com/ZitengWangNYU/Scale-RAE), inference/verify_results.py. Only `answer_logits` and
`prompt_conf` appear in the paper; the others are recorded as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from unimm.tables import pick
from unimm.verify.answer_logits import answer_score

Response = Mapping[str, Any]
"""What is logged about one candidate: `score` (1 yes, 0 no), `yes_logit`, `no_logit`, `yes_conf_score`,
`no_conf_score`, `prompt_conf_score`, `image_conf_score`, `response_conf_score`, `prompt_loss`."""


def _answers(yes: str, no: str) -> Callable[[Response], tuple[float, ...]]:
    def key(response: Response) -> tuple[float, ...]:
        given = torch.tensor([response["score"], response[yes], response[no]], dtype=torch.float64)
        return (float(answer_score(given[0] == 1, given[1], given[2])),)

    return key


def _confidence(name: str) -> Callable[[Response], tuple[float, ...]]:
    return lambda response: (response[name], response["yes_logit"])  # equal ones: the surer yes first


RANKINGS: dict[str, Callable[[Response], tuple[float, ...]]] = {
    "answer_logits": _answers("yes_logit", "no_logit"),
    "answer_conf": _answers("yes_conf_score", "no_conf_score"),
    "prompt_conf": _confidence("prompt_conf_score"),
    "image_conf": _confidence("image_conf_score"),
    "response_conf": _confidence("response_conf_score"),
    "loss": lambda response: (-response["yes_conf_score"],),  # the name says loss; this is what it sorts by
}
"""What to sort by, larger is better."""


def select(responses: Sequence[Response], metric: str, keep: int = 4) -> list[int]:
    """Return the indices of the best `keep` candidates, best first; equal ones keep their order.

    Raises:
        ValueError: no such metric; the nearest is suggested.
    """
    key = pick("metric", metric, RANKINGS)
    order = sorted(range(len(responses)), key=lambda index: key(responses[index]), reverse=True)
    return order[:keep]
