"""Scale-RAE's latent statistics: buffers of its flow head, or a torch file with a batch norm's names."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from unimm.weights.folder import refuse

EPS = 1e-5
"""What the published code adds to the file's variance before the root."""
NAME = "Scale-RAE statistics"
FORMS = ("none", "channel", "token")
"""How a model stores them: not at all, [C] for all tokens, or [N C]."""


def read_statistics_file(theirs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return float32 (mean, std), each [C] or [N C], of a published statistics file.

    Raises:
        ValueError: missing names, or two shapes. `num_batches_tracked` beside them means nothing.
    """
    refuse(NAME, missing={"running_mean", "running_var"} - theirs.keys())
    mean, variance = theirs["running_mean"], theirs["running_var"]
    if mean.shape != variance.shape or mean.ndim not in (1, 2):
        raise ValueError(
            f"{NAME}: expected running_mean and running_var of one shape [C] or [N C], "
            f"got {list(mean.shape)} and {list(variance.shape)}"
        )
    return mean.float(), (variance.float() + EPS).sqrt()


def form_of(mean: Tensor | None) -> str:
    """Return how statistics are stored: a name in FORMS."""
    return FORMS[0 if mean is None else mean.ndim]


def spread(numbers: Tensor, num_tokens: int) -> Tensor:
    """Return statistics [N C] of [C] or [N C]."""
    return numbers.expand(num_tokens, -1).contiguous() if numbers.ndim == 1 else numbers


def gathered(numbers: Tensor, form: str) -> Tensor:
    """Return statistics [N C] in the form in which they were stored.

    Raises:
        ValueError: the tokens differ, so that [C] cannot hold them.
    """
    if form == "token":
        return numbers
    if not torch.equal(numbers, numbers[:1].expand_as(numbers)):
        raise ValueError(f"{NAME}: expected one mean and std for all tokens, got other ones for some")
    return numbers[0]
