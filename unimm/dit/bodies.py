"""The table of bodies: what a config's `kind` stands for, and how to build one."""

from __future__ import annotations

import difflib

from torch import nn

from unimm.dit.config import DDTConfig, DiTConfig
from unimm.dit.ddt import DDT
from unimm.dit.lightning import LightningDiT
from unimm.dit.mmdit import MMDiT, MMDiTConfig
from unimm.dit.sit import SiT, SiTConfig

BODIES: dict[str, tuple[type, type[nn.Module]]] = {
    "lightning": (DiTConfig, LightningDiT),
    "ddt": (DDTConfig, DDT),
    "mmdit": (MMDiTConfig, MMDiT),
    "sit": (SiTConfig, SiT),
}
"""kind: (config class, body class)."""


def body_classes(kind: str) -> tuple[type, type[nn.Module]]:
    """Return the row of BODIES.

    Raises:
        ValueError: no such kind; the nearest is suggested.
    """
    if kind not in BODIES:
        near = difflib.get_close_matches(kind, BODIES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"body: expected one of {', '.join(BODIES)}, got {kind!r}{hint}")
    return BODIES[kind]
