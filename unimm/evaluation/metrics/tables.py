"""Tables of metrics: what encoding and decoding lose, and how drawn pictures compare with real ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unimm.evaluation.metrics.features import AT_ONCE, Backbone, Distance, in_batches
from unimm.evaluation.metrics.frechet import frechet_distance, moments
from unimm.evaluation.metrics.pictures import WINDOWS, psnr, ssim
from unimm.evaluation.metrics.spread import inception_score, kernel_distance, precision_recall
from unimm.evaluation.scored import Scored
from unimm.latents.pixels import to_images, to_pixels

if TYPE_CHECKING:
    from unimm.model import UniMM

LEAST_ERROR = 0.25
"""Squared levels: of half a level, which rounding hides. PSNR then ends at 54 dB, and its mean is finite."""


@torch.no_grad()
def passed_on(model: UniMM, pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Return pictures as the model passes them on: encoded as what it would draw, and decoded.

    Args:
        model: encodes and decodes.
        pictures: uint8 [B Hp Wp 3]; those of another size than the encoder's are squeezed to it.

    Returns:
        uint8 [B Hp Wp 3], of the size that the model decodes.
    """
    size = model.config.settings.target_size
    pixels = to_pixels([Image.fromarray(picture) for picture in pictures], size)
    decoded = model.decode_latents(model.encode_target(pixels.to(model.device, model.dtype)))
    return np.stack([np.asarray(image) for image in to_images(decoded)])


def reconstruction(model: UniMM, pictures: np.ndarray, distances: Sequence[Distance] = ()) -> Scored:
    """Return what the model loses of each picture; `compare_pairs` of the pictures and `passed_on`.

    The Fréchet distance of reconstructions (rFID) is `picture_statistics` of the same two.

    Args:
        model: encodes and decodes.
        pictures: uint8 [n Hp Wp 3], of the size that the model decodes.
        distances: further ones.

    Raises:
        ValueError: pictures of another size.
    """
    return compare_pairs(pictures, in_batches(lambda piece: passed_on(model, piece), pictures), distances)


def compare_pairs(true: np.ndarray, got: np.ndarray, distances: Sequence[Distance] = ()) -> Scored:
    """Return PSNR in dB (at most 54), both kinds of SSIM, and further distances of each pair of pictures.

    Args:
        true: uint8 [n Hp Wp 3].
        got: the same shape.
        distances: further ones.

    Raises:
        ValueError: other shapes or no uint8.
    """
    columns = {"psnr": psnr(true, got, LEAST_ERROR)}
    columns |= {f"ssim_{window}": ssim(true, got, window) for window in WINDOWS}
    columns |= {distance.key: _distances(distance, true, got) for distance in distances}
    return Scored(
        values=np.concatenate(list(columns.values())),
        tasks=tuple(name for name in columns for _ in true),
        groups=tuple(str(index) for _ in columns for index in range(len(true))),
    )


@torch.no_grad()
def _distances(distance: Distance, true: np.ndarray, got: np.ndarray) -> np.ndarray:
    starts = range(0, len(true), AT_ONCE)
    pieces = [slice(start, start + AT_ONCE) for start in starts]
    found = [distance.between(_pixels(true[piece]), _pixels(got[piece])) for piece in pieces]
    return torch.cat(found).double().cpu().numpy()


def _pixels(pictures: np.ndarray) -> Tensor:
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


def picture_statistics(backbone: Backbone, real: np.ndarray, drawn: np.ndarray) -> dict[str, float]:
    """Return `generation_statistics` of two sets of pictures, uint8 [n Hp Wp 3] and [m Hp Wp 3]."""
    features = [in_batches(backbone.features, pictures) for pictures in (real, drawn)]
    logits = None if backbone.logits is None else in_batches(backbone.logits, drawn)
    return generation_statistics(*features, backbone.key, logits)


def generation_statistics(
    real: np.ndarray,
    drawn: np.ndarray,
    key: Callable[[str], str],
    logits: np.ndarray | None = None,
) -> dict[str, float]:
    """Return how drawn pictures compare with real ones as sets, by the names of the metrics.

    Args:
        real: [n d] features.
        drawn: [m d].
        key: a metric's name on these features, such as `Backbone.key`.
        logits: [m K] of the drawn pictures in order, for the Inception score (10 parts); None leaves it out.

    Raises:
        ValueError: too few pictures, other numbers of features, or numbers that are not finite.
    """
    precision, recall = precision_recall(real, drawn)
    table = {
        "frechet": frechet_distance(moments(real), moments(drawn)),
        "kernel": kernel_distance(real, drawn)[0],
        "precision": precision,
        "recall": recall,
    }
    if logits is not None:
        table["inception_score"] = inception_score(logits)[0]
    return {key(metric): value for metric, value in table.items()}
