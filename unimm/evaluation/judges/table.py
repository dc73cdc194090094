"""Every judge by what it can be asked and by its name, and whether it was ever run with its real weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from unimm.evaluation.judges.clip import ClipColors, ContrastiveEmbedder
from unimm.evaluation.judges.endpoint import Endpoint
from unimm.evaluation.judges.mask2former import Mask2FormerDetector
from unimm.evaluation.judges.oracle import OracleColors, OracleDetector, OracleVQA
from unimm.evaluation.judges.own import OwnVQA
from unimm.evaluation.judges.vlm import LocalVLM
from unimm.tables import pick

NEVER = "never yet"
_WORLD, _WORKS = "the built-in world", "it has none; runs in the tests"


@dataclass(frozen=True)
class Entry:
    """One way to get a judge."""

    make: Callable[..., Any]
    """`make(source, **options)`; the source is what `sources` says."""
    sources: str
    """What stands behind the colon in "name:source"; "" where nothing does."""
    official: str
    """The weights that the benchmark's authors, or most people, use with it."""
    run_on_real_weights: str = NEVER
    """When, where and with what result; the judge's own tests use small random weights."""


_MODEL = "FOLDER or hub id"
_REMOTE = "MODEL@URL"

JUDGES: dict[str, dict[str, Entry]] = {
    "detector": {
        "mask2former": Entry(
            Mask2FormerDetector,
            _MODEL,
            "mmdetection's Mask2Former Swin-S (GenEval); facebook/mask2former-swin-small-coco-instance is "
            "another training of the same architecture",
        ),
        "oracle": Entry(OracleDetector, "", _WORLD, _WORKS),
    },
    "colors": {
        "clip": Entry(ClipColors, _MODEL, "openai/clip-vit-large-patch14 (GenEval)"),
        "oracle": Entry(OracleColors, "", _WORLD, _WORKS),
    },
    "yes_no": {
        "vlm": Entry(LocalVLM, _MODEL, "mPLUG-large (DPG-Bench) is not on transformers; name another"),
        "endpoint": Entry(Endpoint, _REMOTE, "none"),
        "own": Entry(OwnVQA, "NAME, FOLDER or hub id", "none", "the built-in tiny, in the tests"),
        "oracle": Entry(OracleVQA, "", _WORLD, _WORKS),
    },
    "soft": {
        "vlm": Entry(LocalVLM, _MODEL, "Qwen/Qwen3-VL-8B-Instruct (GenEval 2)"),
        "own": Entry(OwnVQA, "NAME, FOLDER or hub id", "none", "the built-in tiny, in the tests"),
        "oracle": Entry(OracleVQA, "", _WORLD, _WORKS),
    },
    "embedder": {
        "clip": Entry(ContrastiveEmbedder, _MODEL, "openai/clip-vit-large-patch14 or -base-patch16"),
        "siglip": Entry(
            ContrastiveEmbedder, _MODEL, "google/siglip-so400m-patch14-384, SigLIP 2 of one size"
        ),
    },
    "judge": {
        "vlm": Entry(LocalVLM, _MODEL, "Qwen/Qwen3.5-35B-A3B (WISE_Verified)"),
        "endpoint": Entry(
            Endpoint, _REMOTE, "gpt-4o-2024-05-13 (WISE); Qwen3.5-35B-A3B on vLLM (WISE_Verified)"
        ),
        "own": Entry(OwnVQA, "NAME, FOLDER or hub id", "none", "the built-in tiny, in the tests"),
        "oracle": Entry(OracleVQA, "", _WORLD, _WORKS),
    },
}
"""By kind (see `KINDS`), then by name."""


def load_judge(kind: str, spec: str, offered: Mapping[str, Any] | None = None, **options: Any) -> Any:
    """Return a judge, such as `load_judge("detector", "mask2former:/models/mask2former")`.

    Args:
        kind: a key of `KINDS`.
        spec: a name of `JUDGES[kind]`, with ":" and its source where it needs one.
        offered: options for those that take them, such as a device, or a file of a remote judge's replies.
        options: of that judge, such as name.

    Raises:
        ValueError: no such kind or name; a source is missing or superfluous.
        FileNotFoundError: the source is a folder that is not there.
    """
    name, _, source = spec.partition(":")
    entry = pick(kind, name, pick("kind of judge", kind, JUDGES))
    if bool(source) != bool(entry.sources):
        expected = f"{name}:{entry.sources}" if entry.sources else name
        raise ValueError(f"{kind}: expected {expected}, got {spec!r}")
    known = inspect.signature(entry.make).parameters
    options = {**{name: value for name, value in (offered or {}).items() if name in known}, **options}
    return entry.make(source, **options) if entry.sources else entry.make(**options)
