"""What the parity tests of the bodies share: loading recorded weights, latents in our layout."""

from __future__ import annotations

import json

import torch

from unimm.weights import check_tables, load_strictly

TOLERANCE = {"atol": 2e-5, "rtol": 1e-5}
GRADIENT_TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}


def tokens(maps):
    """Return [B N C] of [B C rows columns]."""
    return maps.flatten(2).mT


def settings(recorded):
    """Return the configuration that stands in the file's metadata."""
    return json.loads(recorded.metadata["config"])


def load(body, names, theirs):
    """Return the body with the recorded weights, after checking the recorded tables."""
    parameters, tables = names.read(theirs)
    check_tables(dict(body.named_buffers()), tables)
    load_strictly(body, parameters)
    return body.eval()


def inputs(recorded):
    """Return noisy latents [B N C], times [B] and labels or conditions."""
    get = recorded.tensors.__getitem__
    return tokens(get("in.x")), get("in.t"), get("in.y")


def given(body, conditions):
    """Return the velocity with these conditions; recorded labels may be the null label itself."""
    if conditions.is_floating_point():
        return lambda x, t: body(x, t, conditions)
    null = conditions == body.config.num_classes
    return lambda x, t: body(x, t, conditions.masked_fill(null, 0), null)


def with_and_without(body, conditions):
    """Return the velocity with the conditions, and the one with the null condition."""
    held = conditions if conditions.is_floating_point() else torch.zeros_like(conditions)
    dropped = torch.ones(len(conditions), dtype=torch.bool)
    return given(body, conditions), lambda x, t: body(x, t, held, dropped)
