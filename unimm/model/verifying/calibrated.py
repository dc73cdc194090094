"""Which calibrations hold for a model as it is: those of its weights, under its profile."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unimm.verify.calibration import Calibration
from unimm.verify.calibrations import FILE, Calibrations, read_calibrations, write_calibrations

if TYPE_CHECKING:
    from unimm.model.unimm import UniMM

SAMPLE = 256  # numbers of each tensor in a mark: a step of training moves every one of them, an adapter most


def probabilities_of(model: UniMM, verifier: Any, scores: Sequence[float]) -> list[float] | None:
    """Return the probability that each drawing is right, NaN where the score is; None if not calibrated."""
    calibration = calibration_of(model, verifier)
    return None if calibration is None else calibration(scores).tolist()


def calibration_of(model: UniMM, verifier: Any) -> Calibration | None:
    """Return what was measured for a verifier under the model's profile, or None."""
    own = model.calibrations
    holds = isinstance(verifier, str) and own.conditions == conditions_of(model)
    return own.maps.get(verifier) if holds else None


def calibrated_names(model: UniMM) -> str:
    """Return the verifiers that the model is calibrated for, as a message tells them."""
    return ", ".join(name for name in model.calibrations.maps if calibration_of(model, name)) or "none"


def conditions_of(model: UniMM) -> dict[str, Any]:
    """Return the settings of the profile that scores depend on."""
    profile = model.profile
    return {
        "confidence_positions": profile.confidence_positions,
        "pools_answer_words": profile.pools_answer_words,
    }


def load_calibrations(folder: Path, stored: Mapping[str, Tensor]) -> Calibrations:
    """Return the calibrations in a model's folder; none, with a warning, where they are of other weights.

    Args:
        folder: the model's.
        stored: its tensors as they are on the disk, whatever they are loaded as.

    Raises:
        ValueError: the file is damaged.
    """
    found = read_calibrations(folder / FILE)
    mark = weights_mark(stored) if found.maps else None
    if mark is not None and found.weights != mark:
        warnings.warn(
            f"{folder / FILE}: measured on other weights than those beside it, so probabilities are not "
            "told; `unimm eval calibrate` measures them again",
            stacklevel=3,
        )
        return Calibrations()
    return found


def still_true(calibrations: Calibrations, state: Mapping[str, Tensor]) -> Calibrations:
    """Return the calibrations if they are of these weights, and none otherwise."""
    measured = calibrations.maps and calibrations.weights == weights_mark(state)
    return calibrations if measured else Calibrations()


def save_calibrations(folder: Path, calibrations: Calibrations) -> None:
    """Write calibrations, if there are any, to a model's folder."""
    if calibrations.maps:
        write_calibrations(folder / FILE, calibrations)


def weights_mark(state: Mapping[str, Tensor]) -> str | None:
    """Return a name for weights, the same in float32 and bfloat16.

    None where some are on the meta device, or in float16, in which small numbers have lost places.
    """
    digest = hashlib.blake2b(digest_size=12)
    for name, tensor in sorted(state.items()):
        if tensor.is_meta or tensor.dtype == torch.float16:
            return None
        flat = tensor.detach().reshape(-1)
        some = flat[:: max(1, -(-len(flat) // SAMPLE))].to(torch.bfloat16).float().cpu()
        digest.update(name.encode())
        digest.update(some.numpy().tobytes())
    return digest.hexdigest()
