"""Small bodies whose zero layers speak, and inputs for them."""

from __future__ import annotations

import torch

from unimm.dit import DDTConfig, DiTConfig

VECTORS = DiTConfig(channels=6, width=32, depth=2, heads=2, condition_width=12, grid=4)
LABELLED = DiTConfig(channels=6, width=32, depth=2, heads=2, condition_width=32, grid=4, num_classes=5)
HEAD = {"head_width": 48, "head_depth": 2, "head_heads": 4}
WIDE = DDTConfig(channels=6, width=32, depth=2, heads=2, condition_width=32, grid=4, num_classes=5, **HEAD)


def awake(body):
    """Give the zero-initialised layers something to say; the same for bodies of the same names."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, parameter in sorted(body.named_parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return body


def inputs(config, batch=3, seed=1):
    """Return x [B N C], t [B] and labels [B] or vectors [B M Z]."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, config.grid**2, config.channels, generator=generator)
    t = torch.rand(batch, generator=generator)
    if config.num_classes is None:
        tokens = config.side**2
        return x, t, torch.randn(batch, tokens, config.condition_width, generator=generator)
    return x, t, torch.randint(config.num_classes, (batch,), generator=generator)
