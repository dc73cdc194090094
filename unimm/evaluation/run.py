"""What a run of pictures was made from and how: `run.json`, which stands before the first picture."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from unimm.request import positive
from unimm.tables import expect_known
from unimm.whole import PARTIAL, read_json

FILE = "run.json"
FORMAT = 1
SELECTIONS = {
    "each": "every picture is the best of its own N candidates",
    "top": "the pictures of a prompt are the best of N candidates in common",
}
"""What best of N means where a prompt has several pictures; Scale-RAE (arXiv 2601.16208) keeps the top 4."""
CANDIDATES = 2**12
"""Candidates that one picture may have before its seeds would meet those of the prompt's next picture."""
SAMPLES = 2**8
"""Pictures that a prompt may have before its seeds would meet those of the next prompt."""
PROMPTS = 2**20
"""Prompts that a benchmark may have before its seeds would meet those of the next run's seed."""


@dataclass(frozen=True)
class Sampling:
    """How pictures are drawn."""

    steps: int = 50
    guidance: float | None = None  # None: the model's own
    guidance_interval: tuple[float, float] | None = None  # times in which it acts; None: always
    solver: str | None = None  # None: the model's own
    negative_prompt: str | None = None
    best_of: int = 1
    verifier: str | None = None
    selection: str = "each"

    def __post_init__(self) -> None:
        positive("--steps", self.steps)
        positive("--best-of", self.best_of)
        if self.best_of > CANDIDATES:
            raise ValueError(f"--best-of: expected at most {CANDIDATES}, got {self.best_of}")
        expect_known("--selection", self.selection, SELECTIONS)
        if self.verifier is not None and self.best_of == 1:
            raise ValueError(f"--verifier: {self.verifier!r} has nothing to choose from; add --best-of")

    def options(self) -> dict[str, Any]:
        """Return what `generate_image` is told; what was left to the model is left out."""
        told = {"num_inference_steps": self.steps, "guidance_scale": self.guidance}
        if self.solver is not None:
            told["solver"] = self.solver
        if self.guidance_interval is not None:
            told["guidance_interval"] = self.guidance_interval
        if self.negative_prompt is not None:
            told["negative_prompt"] = self.negative_prompt
        if self.best_of > 1:
            told |= {"best_of": self.best_of, "verifier": self.verifier or "answer_logits"}
        return told

    def facts(self, model: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings by name; what was left to the model is what its facts say."""
        verifier = (self.verifier or "answer_logits") if self.best_of > 1 else None
        own = {name: model[name] for name in ("guidance", "solver") if getattr(self, name) is None}
        return {**asdict(self), **own, "verifier": verifier}


def seed_of(base: int, index: int, sample: int) -> int:
    """Return the seed of a picture's first candidate; the others take the numbers after it.

    It does not depend on how many candidates there are: best of 4 chooses among those of best of 2, and more.

    Args:
        base: the run's seed.
        index: of the prompt in the benchmark's whole list.
        sample: of the picture among those of the prompt.

    Raises:
        ValueError: a number above what keeps all seeds apart.
    """
    spans = (("--seed", base, 2**22), ("prompt", index, PROMPTS), ("sample", sample, SAMPLES))
    for name, value, span in spans:
        if not 0 <= value < span:
            raise ValueError(f"{name}: expected 0 to {span - 1}, got {value}")
    return ((base * PROMPTS + index) * SAMPLES + sample) * CANDIDATES


def model_facts(model: Any, name: str, revision: str | None = None) -> dict[str, Any]:
    """Return what identifies a model: its name, class, number format and the hash of its weights."""
    settings = getattr(getattr(model, "config", None), "settings", None)
    chat = getattr(settings, "chat", None)
    return {
        "name": name,
        "revision": revision,
        "class": type(model).__name__,
        "profile": _profile(model),
        "dtype": str(model.dtype).removeprefix("torch."),
        "weights": weights_hash(model),
        "chat_template": getattr(chat, "generate_template", None),
        "guidance": getattr(settings, "guidance_scale", None),
        "solver": getattr(getattr(model, "profile", None), "sampler", None),
    }


def _profile(model: Any) -> str | None:
    from unimm.model.profile import PROFILES

    own = getattr(model, "profile", None)
    return next((name for name, profile in PROFILES.items() if profile == own), None)


def weights_hash(model: Any) -> str:
    """Return the sha256 of names, shapes, formats and bytes of all weights, in alphabetical order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def software() -> dict[str, str]:
    """Return the versions of what computes."""
    names = ("unimm", "torch", "transformers", "numpy", "pillow")
    versions = {name: importlib.metadata.version(name) for name in names}
    return {"python": platform.python_version(), **versions, "machine": platform.machine()}


def now() -> str:
    """Return the date and time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def open_run(folder: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Write what a run is to its folder, or see that the folder's run is the same.

    Several processes may call this at once: the first one writes, the others compare.

    Args:
        folder: made if it is not there.
        identity: plain values, in nested mappings; two runs are one if all of these are equal.

    Returns:
        the identity as it is read back, with the date and the software that the run began with.

    Raises:
        ValueError: a run with other settings is in the folder; the fields that differ are named.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    said = json.loads(json.dumps({"format": FORMAT, **identity}))
    if not path.is_file():
        _write_once(path, {**said, "software": software(), "begun": now()})
    there = read_json(path)
    different = differences(said, {key: there.get(key) for key in said})
    if different:
        raise ValueError(
            f"{folder}: there is a run with other settings: {'; '.join(different)}; "
            "choose another folder with --out"
        )
    return there


def _write_once(path: Path, value: Mapping[str, Any]) -> None:
    """Write a file unless somebody else has, whole in any case."""
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        partial.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
        os.link(partial, path)
    except FileExistsError:
        return
    finally:
        partial.unlink(missing_ok=True)


def read_run(folder: Path) -> dict[str, Any] | None:
    """Return a run's facts; None for a folder that is no run of ours.

    Raises:
        ValueError: damaged, or written by a later version.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    value = read_json(path)
    if value.get("format") != FORMAT:
        raise ValueError(f"{path}: expected format {FORMAT}, got {value.get('format')!r}")
    return value


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return a line for every value that differs: "sampling.steps: 50 here, 20 there"."""
    lines = []
    for key in dict.fromkeys([*ours, *theirs]):
        one, other = ours.get(key), theirs.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            lines += differences(one, other, f"{prefix}{key}.")
        elif one != other:
            lines.append(f"{prefix}{key}: {one!r} here, {other!r} there")
    return lines
