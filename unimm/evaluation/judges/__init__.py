"""Judges of pictures behind small protocols: models that look, and oracles that know the built-in world."""

from unimm.evaluation.judges.protocols import (
    KINDS,
    ColorClassifier,
    Detections,
    Detector,
    Embedder,
    Judge,
    SoftVQA,
    YesNoVQA,
)

__all__ = [
    "KINDS",
    "ColorClassifier",
    "Detections",
    "Detector",
    "Embedder",
    "Judge",
    "SoftVQA",
    "YesNoVQA",
]
