"""A torchvision whose compiled part cannot load shall not take transformers, timm and lpips down with it.

On a CPU-only torch, torchvision's compiled part (built for CUDA) does not load, and registering shape rules
for its operators then fails with "operator torchvision::nms does not exist". We need none of these
operators, only their names: declaring two schemas is the whole cure. It happens at the last moment, when
torchvision has tried to load its compiled part and is about to register the rules; where that part did
load, or torchvision is never imported, nothing happens.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_AFTER_LOADING = ("torchvision._autograd_registrations", "torchvision._meta_registrations")
_library = None  # declarations live as long as their library object


class _Watch:
    """An import finder that finds nothing; it only learns that torchvision is about to register its rules."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: object = None) -> None:
        if name in _AFTER_LOADING:
            declare_missing_operators()


def declare_missing_operators() -> None:
    """Declare the operators that torchvision's compiled part should have brought, if it did not."""
    global _library
    import torch

    if _library is None and not hasattr(torch.ops.torchvision, "nms"):
        _library = torch.library.Library("torchvision", "DEF")
        for schema in SCHEMAS:
            _library.define(schema)


if _Watch not in sys.meta_path:
    sys.meta_path.insert(0, _Watch)
