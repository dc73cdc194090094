"""The table of bodies: what a config's `kind` stands for, and how to build one."""

from __future__ import annotations

from torch import nn

from unimm.dit.config import DDTConfig, DiTConfig
from unimm.dit.ddt import DDT
from unimm.dit.lightning import LightningDiT
from unimm.dit.mmdit import MMDiT, MMDiTConfig
from unimm.dit.sit import SiT, SiTConfig
from unimm.tables import pick

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
    return pick("body", kind, BODIES)
