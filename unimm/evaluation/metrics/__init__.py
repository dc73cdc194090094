"""Metrics of pictures: of pairs, of sets of features, of pictures and texts."""
