"""How many floating-point operations a step of a UniMM takes, by closed form: what its "mfu" is a share of.

Matrix products and attention count, a multiply and an add each. What is computed again to save memory does
not, nor does padding, nor an encoder that makes latents in the step.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from unimm.model.adapters import is_adapters
from unimm.model.unimm import UniMM
from unimm.parts import IGNORED, Batch
from unimm.training.sharding import as_whole
from unimm.training.speed import macs_per_picture
from unimm.training.verification import reading_macs


class TalkOperations:
    """Operations of a UniMM's step, forward and backward.

    Backward, a room gives its inputs gradients if it or a room before it learns, and its weights as far as
    they learn; each is as much work as the way forward. An adapter's matrices learn, beside weights that do
    not.
    """

    def __init__(self, model: UniMM, noise_draws: int):
        """Take the model when it is known who of it learns, and the draws of each picture."""
        self.llm, self.noise_draws = model.config.settings.llm, noise_draws
        self.evaluation = macs_per_picture(model.dit)
        self.tokens_drawn = model.config.settings.dit.side**2
        self.weights, self.beside, self.times, learns = {}, {}, {}, False
        for name in ("projector", "queries", "llm", "connector", "dit"):
            named = list(getattr(model, name).named_parameters())
            own = [parameter for path, parameter in named if not is_adapters(path)]
            self.weights[name] = size(own)
            self.beside[name] = size(parameter for path, parameter in named if is_adapters(path))
            share = size(p for p in own if p.requires_grad) / size(own)
            told = learns or share > 0  # else an adapter's modulations ask for no gradient of conditions
            learns = told or self.beside[name] > 0
            self.times[name] = 1 + learns + share
        weights = [x for path, x in named if "modulation" in path.split(".") and not is_adapters(path)]
        self.unasked = 0 if told else size(x for x in weights if x.ndim == 2)

    def __call__(self, batch: Batch) -> float:
        """Return the operations of a micro-batch."""
        lengths = [run.length for run in batch.samples] or batch.attention_mask.sum(1).tolist()
        said = int((batch.labels[:, 1:] != IGNORED).sum())
        tokens = {
            "llm": sum(lengths),
            "projector": sum(run.length for run in batch.context_runs),
            "connector": sum(run.length for run in batch.query_runs),
            "dit": self.tokens_drawn * self.noise_draws * len(batch.query_runs),
        }
        macs = {
            "llm": sum(reading_macs(self.llm, length) for length in lengths)
            + said * self.llm.width * self.llm.vocab_size,
            "projector": self.weights["projector"] * tokens["projector"],
            "connector": self.weights["connector"] * tokens["connector"],
            "dit": self.evaluation * self.noise_draws * len(batch.query_runs),
        }
        added = sum(3 * self.beside[name] * count for name, count in tokens.items())
        added -= self.unasked * tokens["dit"]
        return 2 * (added + sum(amount * self.times[name] for name, amount in macs.items()))


def size(parameters: Iterable[nn.Parameter]) -> int:
    """Return how many numbers parameters hold, of sharded ones all."""
    return sum(as_whole(parameter).numel() for parameter in parameters)
