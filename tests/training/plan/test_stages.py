"""Workloads of recipes: what is known of the world's rows without rendering them."""

from __future__ import annotations

import numpy as np

from unimm.data.talk import TALKS
from unimm.parts import Image
from unimm.training.plan.stages import KINDS_THAT_DRAW
from unimm.world.scene import pair


def test_the_kinds_that_draw_are_those_whose_talks_do():
    rng = np.random.default_rng(0)
    one, other = (pair(rng) for _ in range(2))  # a sort of scene that every kind of talk can tell of
    draws = {
        kind
        for kind, talk in TALKS.items()
        for turn in talk(one, other, rng).turns
        for part in turn.parts
        if isinstance(part, Image) and part.target
    }
    assert draws == set(KINDS_THAT_DRAW)
