"""Metrics of pictures: of pairs, of sets of features, of pictures and texts.

A metric on features carries its network's name (`frechet@tiny`); "fid", "inception_score" and "lpips_..." are
kept for the published weights (`metrics.published`).
"""

from unimm.evaluation.metrics.agreement import CLIP_SCORES, clip_score, cosines, siglip_score
from unimm.evaluation.metrics.features import Backbone, Distance
from unimm.evaluation.metrics.frechet import Moments, frechet_distance, moments
from unimm.evaluation.metrics.pictures import psnr, ssim
from unimm.evaluation.metrics.spread import inception_score, kernel_distance, precision_recall
from unimm.evaluation.metrics.tables import (
    LEAST_ERROR,
    compare_pairs,
    generation_statistics,
    passed_on,
    picture_statistics,
    reconstruction,
)

__all__ = [
    "CLIP_SCORES",
    "LEAST_ERROR",
    "Backbone",
    "Distance",
    "Moments",
    "clip_score",
    "compare_pairs",
    "cosines",
    "frechet_distance",
    "generation_statistics",
    "inception_score",
    "kernel_distance",
    "moments",
    "passed_on",
    "picture_statistics",
    "precision_recall",
    "psnr",
    "reconstruction",
    "siglip_score",
    "ssim",
]
