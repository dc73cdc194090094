"""GenEval's detector without its framework: what mmdetection 2 does before and after the network.

transformers' own processing of Mask2Former forces pictures and masks to 384 x 384 and lets segments overwrite
one another, which loses small things and changes counts; so both ends are done here, on the raw logits.
After mmdetection's Mask2Former (Swin-S, COCO instances) as GenEval runs it
(https://github.com/djghosh13/geneval, https://github.com/open-mmlab/mmdetection).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn.functional import interpolate, pad

LONGEST, SHORTEST = 1333, 800  # pixels: a picture is scaled until it touches one of the two
DIVISOR = 32  # of the padded sides: the deepest stride of the backbone
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # ImageNet, 8-bit RGB
MOST = 100  # detections per picture
_CHUNK = 16  # masks brought to full size at a time; bounds memory


class Instances(NamedTuple):
    """What one picture shows; K things, best class score first."""

    boxes: np.ndarray  # [K 4] x1 y1 x2 y2, exclusive
    scores: np.ndarray  # [K] in [0, 1]
    classes: np.ndarray  # [K] int
    masks: np.ndarray  # bool [K H W]


def scaled_size(height: int, width: int) -> tuple[int, int]:
    """Return height and width at which the network sees a picture, its shape kept."""
    scale = min(LONGEST / max(height, width), SHORTEST / min(height, width))
    return int(height * scale + 0.5), int(width * scale + 0.5)


def network_input(image: Image) -> tuple[Tensor, tuple[int, int]]:
    """Return a picture as the network takes it.

    Scaled bilinearly without anti-aliasing and rounded to 8 bits, as OpenCV does; the padding, to the right
    and below, is 0 after the normalisation.

    Returns:
        [3 Hn Wn] float32 with sides divisible by 32, and the height and width of what is not padding.
    """
    pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None].float()
    size = scaled_size(image.height, image.width)
    pixels = interpolate(pixels, size, mode="bilinear", align_corners=False).round()[0]
    pixels = (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    return pad(pixels, (0, -size[1] % DIVISOR, 0, -size[0] % DIVISOR)), size


def instances(
    class_logits: Tensor,
    mask_logits: Tensor,
    padded: tuple[int, int],
    content: tuple[int, int],
    original: tuple[int, int],
    least_score: float = 0.0,
) -> Instances:
    """Return the things that a network's logits speak of.

    The 100 best of all pairs of query and class; a mask is enlarged as logits, first to the network's input,
    where the padding is cut, then to the picture, and holds where it is above 0. A score is the class's
    probability times the mean probability inside the mask.

    Args:
        class_logits: [Q K+1], the last one for "no object".
        mask_logits: [Q h w].
        padded: height and width of the network's input.
        content: of what is not padding in it.
        original: of the picture.
        least_score: things below it are left out.
    """
    probabilities = class_logits.float().softmax(-1)[:, :-1]
    num_classes = probabilities.shape[1]
    best = probabilities.flatten().topk(min(MOST, probabilities.numel()))
    kept = best.values >= least_score  # the mask's share of a score is at most 1
    class_scores, indices = best.values[kept], best.indices[kept]
    sizes = (padded, content, original)
    parts = [_judged(mask_logits[chunk // num_classes], *sizes) for chunk in indices.split(_CHUNK)]
    inside, masks = (torch.cat(part) for part in zip(*parts, strict=True))
    scores = class_scores * inside
    strong = scores >= least_score
    chosen = masks[strong].cpu().numpy()
    return Instances(
        tight_boxes(chosen),
        scores[strong].cpu().numpy(),
        (indices % num_classes)[strong].cpu().numpy(),
        chosen,
    )


def tight_boxes(masks: np.ndarray) -> np.ndarray:
    """Return [K 4] float32 boxes around masks, bool [K H W]; x2 and y2 exclusive, zeros for an empty mask."""
    boxes = np.zeros((len(masks), 4), np.float32)
    for box, mask in zip(boxes, masks, strict=True):
        columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
        if len(columns):
            box[:] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return boxes


def _judged(
    logits: Tensor, padded: tuple[int, int], content: tuple[int, int], original: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Return the mean probability inside each mask [K] and the masks [K H W], of logits [K h w]."""
    full = _resized(_resized(logits.float(), padded)[:, : content[0], : content[1]], original)
    masks = full > 0
    area = masks.flatten(1).sum(1)
    return (full.sigmoid() * masks).flatten(1).sum(1) / (area + 1e-6), masks


def _resized(logits: Tensor, size: tuple[int, int]) -> Tensor:
    return interpolate(logits[:, None], size, mode="bilinear", align_corners=False)[:, 0]
