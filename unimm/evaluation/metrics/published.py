"""The networks whose metrics keep their plain names: with the published weights, hash checked, never fetched.

FID and Inception score: the Inception of December 2015, converted by pytorch-fid and torch-fidelity, with the
bilinear resize of TensorFlow 1 and 1008 logits without bias. (torchmetrics resizes with antialiasing unless
told otherwise, and that is another number.) LPIPS: version 0.1 on torchvision's VGG16 or AlexNet.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from unimm.evaluation.metrics.features import Backbone, Distance
from unimm.files import expect_sha256, read_tensors
from unimm.perceptual import load_published_lpips

INCEPTION = "weights-inception-2015-12-05-6726825d.pth"
"""The file, of torch-fidelity's release v0.2.0; pytorch-fid has the same as pt_inception-...-6726825d.pth."""

_SHA256 = "6726825d"
_FEATURES, _LOGITS = "2048", "logits_unbiased"


def inception(weights: str | Path, device: str = "cpu") -> Backbone:
    """Return the backbone of FID (2048 features) and Inception score (1008 logits).

    Args:
        weights: `INCEPTION`, wherever it lies.
        device: where to compute.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another file.
        ImportError: the package `torch-fidelity` is not installed.
    """
    try:
        expect_sha256(weights, _SHA256)
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(
            f"fid and inception_score need {INCEPTION} of github.com/toshas/torch-fidelity: {error}; with "
            f"another network they have other names, see metrics.Backbone"
        ) from None
    network = _network(weights).to(device)
    return Backbone(
        "inception-2015-12-05",
        partial(_of, network, _FEATURES, device=device),
        partial(_of, network, _LOGITS, device=device),
        published=True,
    )


def _network(weights: str | Path) -> nn.Module:
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise ImportError("torch-fidelity is not installed; pip install 'unimm[eval]'") from error
    with tempfile.TemporaryDirectory() as folder:
        # It unpickles whatever a path holds, so it is given a copy of what was read as tensors.
        torch.save(dict(read_tensors(weights)), f"{folder}/inception.pth")
        return FeatureExtractorInceptionV3("inception", [_FEATURES, _LOGITS], f"{folder}/inception.pth")


@torch.inference_mode()
def _of(network: nn.Module, what: str, pictures: np.ndarray, device: str) -> np.ndarray:
    """Return features or logits [B d] of pictures, uint8 [B Hp Wp 3]."""
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous().to(device)
    made: dict[str, Tensor] = dict(zip((_FEATURES, _LOGITS), network(pixels), strict=True))
    return made[what].cpu().numpy()


def lpips(backbone: str | Path, net: str = "vgg", device: str = "cpu") -> Distance:
    """Return LPIPS, "lpips_vgg" or "lpips_alex"; arguments and errors are those of `load_published_lpips`."""
    network: Callable[[Tensor, Tensor], Tensor] = load_published_lpips(backbone, net).to(device)
    return Distance(f"lpips_{net}", lambda a, b: network(a.to(device), b.to(device)), published=True)
