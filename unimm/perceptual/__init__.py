"""Distances between pictures that feel differences as a network does, named by their weights."""

from unimm.perceptual.features import FeatureDistance
from unimm.perceptual.gram import gram_distance
from unimm.perceptual.published import load_published_lpips

__all__ = ["FeatureDistance", "gram_distance", "load_published_lpips"]
