"""Which caption is read where a picture has several: original ones and ones that a model wrote, mixed.

Half of each is what SD3 trains on (Esser et al. 2024, arXiv 2403.03206, section 5.3.1): written captions say
more, original ones know names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from unimm.data.samples import BrokenSample, Sample


def check_shares(shares: Mapping[str, float]) -> None:
    """Refuse shares that are no positive numbers.

    Raises:
        ValueError: one is not.
    """
    for name, share in shares.items():
        if not (math.isfinite(share) and share > 0):
            raise ValueError(f"captions.{name}: expected a share above 0, got {share}")


def with_caption(sample: Sample, shares: Mapping[str, float], lot: float) -> Sample:
    """Return the sample with one of its captions.

    Args:
        sample: with a caption or several.
        shares: of each caption by its name, in any unit; where a sample lacks some, the others share what is
            theirs. Empty: the source's first caption.
        lot: in [0, 1); a caption with share s is taken for a range of it that is s wide.

    Raises:
        BrokenSample: it has none of these captions.
    """
    if not shares:
        return sample
    names = [name for name in shares if name in sample.wordings]
    if not names:
        known = ", ".join(sample.wordings) or "a conversation, which has none"
        raise BrokenSample(sample.key, f"captions: expected one of {', '.join(shares)}, got {known}")
    total, upto = math.fsum(shares[name] for name in names), 0.0
    for name in names:
        upto += shares[name] / total
        if lot < upto:
            return sample.worded(name)
    return sample.worded(names[-1])
