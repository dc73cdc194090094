"""Calibration: how probable it is, at each score of a verifier, that the drawing is right.

Measured on the built-in world, where the scene reader and GenEval's rules tell right from wrong. Fitted on
one half of the prompts, reported on the other.
"""
