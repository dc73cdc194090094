"""Representation alignment (REPA, Yu et al. 2025): projectors, their loss, and what measures alignment."""

from unimm.alignment.cknna import cka, cknna, mutual_neighbours, unit_rows
from unimm.alignment.loss import PUBLISHED_WEIGHT, alignment_loss, resample_tokens
from unimm.alignment.probe import LinearProbe, ProbeSettings, accuracy, fit_probe
from unimm.alignment.projector import Projectors

__all__ = [
    "PUBLISHED_WEIGHT",
    "LinearProbe",
    "ProbeSettings",
    "Projectors",
    "accuracy",
    "alignment_loss",
    "cka",
    "cknna",
    "fit_probe",
    "mutual_neighbours",
    "resample_tokens",
    "unit_rows",
]
