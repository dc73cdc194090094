"""Masks and outlines for the scene reader: connected parts, and which of the eight outlines a mask is."""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np
from PIL import Image, ImageFilter

from unimm.world.render import OUTLINES, coverage
from unimm.world.scene import Thing

_SIDE = 44  # samples per side of the frame in which a mask is compared with the outlines
_REACH = 1.35  # half the frame's side, in units of the square root of the mask's area
_SCALES = (0.93, 1.0, 1.07)  # the fit allows for an area that is off by 14 %,
_SHIFTS = (-0.06, 0.0, 0.06)  # and for a centroid that is off by half a pixel of a small thing
_BLURS = (
    0.04,
    0.12,
)  # of the radius (Gaussian sigma): a soft picture rounds corners off before it is cut at one half


def components(mask: np.ndarray) -> list[np.ndarray]:
    """Split a mask into its 4-connected parts.

    Args:
        mask: bool [H W].

    Returns:
        one bool [H W] mask per part, in reading order of the parts' first pixels.
    """
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges == 1)
    stops = np.nonzero(edges == -1)[1]
    runs = list(zip(rows.tolist(), starts.tolist(), stops.tolist(), strict=True))
    parent = list(range(len(runs)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    above: list[int] = []  # the runs of the previous row that may still touch
    here: list[int] = []
    for i, (row, start, stop) in enumerate(runs):
        if here and runs[here[0]][0] != row:
            above, here = here, []
        for j in above:
            if runs[j][0] == row - 1 and runs[j][1] < stop and start < runs[j][2]:
                first, second = sorted((root(i), root(j)))
                parent[second] = first
        here.append(i)
    parts: dict[int, np.ndarray] = {}
    for i, (row, start, stop) in enumerate(runs):
        parts.setdefault(root(i), np.zeros_like(mask))[row, start:stop] = True
    return list(parts.values())


def eroded(mask: np.ndarray) -> np.ndarray:
    """Return the pixels of a mask whose four neighbours are in it as well; the picture's edge is outside."""
    around = np.pad(mask, 1)
    return mask & around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]


def dilated(mask: np.ndarray) -> np.ndarray:
    """Return a mask and its pixels' four neighbours."""
    around = np.pad(mask, 1)
    return mask | around[:-2, 1:-1] | around[2:, 1:-1] | around[1:-1, :-2] | around[1:-1, 2:]


@lru_cache(maxsize=1)
def _templates() -> tuple[list[tuple[str, float, float, float]], np.ndarray, np.ndarray]:
    """Draw every outline in the frame, sharp and soft, at every scale and shift of the fit.

    Returns:
        for each: (shape, x, y, radius), in a frame whose origin is the mask's centroid and whose unit is the
        square root of the mask's area; the templates [K side*side]; their squared lengths [K].
    """
    pixels = 256
    places, drawn = [], []
    for shape, blur in product(OUTLINES, _BLURS):
        sharp = coverage(Thing(shape, "red", 0.5, 0.5, 0.3), np.arange(pixels), np.arange(pixels), pixels)
        grey = Image.fromarray((sharp * 255).astype(np.uint8))
        ideal = np.asarray(grey.filter(ImageFilter.GaussianBlur(blur * 0.3 * pixels)), np.float32) / 255
        y, x = _centroid(ideal)
        unit = float(np.sqrt(_sharpened(ideal).sum()))
        for scale in _SCALES:
            for dx in _SHIFTS:
                for dy in _SHIFTS:
                    drawn.append(_sampled(ideal, y - dy * unit, x - dx * unit, unit / scale))
                    centre = (pixels / 2 - 0.5 - np.array((x, y))) / unit * scale
                    places.append(
                        (shape, centre[0] + dx * scale, centre[1] + dy * scale, 0.3 * pixels / unit * scale)
                    )
    stacked = np.stack(drawn).astype(np.float32)
    return places, stacked, np.square(stacked).sum(1)


def _centroid(soft: np.ndarray) -> tuple[float, float]:
    total = soft.sum()
    rows, columns = (np.arange(size, dtype=np.float32) for size in soft.shape)
    return float(soft.sum(1) @ rows / total), float(soft.sum(0) @ columns / total)


def _sampled(soft: np.ndarray, y: float, x: float, unit: float) -> np.ndarray:
    """Sample a mask bilinearly in the frame about (y, x); return it sharpened, [side*side]."""
    offsets = (np.arange(_SIDE, dtype=np.float32) + 0.5) / _SIDE * 2 - 1
    rows = np.clip(y + offsets * _REACH * unit, -1, soft.shape[0]) + 1
    columns = np.clip(x + offsets * _REACH * unit, -1, soft.shape[1]) + 1
    framed = np.pad(soft, ((1, 2), (1, 2)))
    top, left = rows.astype(int), columns.astype(int)
    down, right = (rows - top)[:, None], (columns - left)[None, :]
    upper = framed[top][:, left] * (1 - right) + framed[top][:, left + 1] * right
    lower = framed[top + 1][:, left] * (1 - right) + framed[top + 1][:, left + 1] * right
    return _sharpened(upper * (1 - down) + lower * down).ravel()


def _sharpened(soft: np.ndarray) -> np.ndarray:
    """Halve the width of a mask's edge; the contour at one half stays."""
    return np.clip(2 * soft - 0.5, 0, 1)


def classify(soft: np.ndarray) -> tuple[str, float, float, float, float]:
    """Find the outline that fits a mask best.

    Args:
        soft: [H W] coverage in [0, 1] of one thing.

    Returns:
        (shape, x, y, radius, overlap): centre and radius in pixels (the first pixel's centre is at one half);
        the overlap with the outline in 0..1, which is intersection over union for soft masks (Tanimoto).
    """
    places, templates, squares = _templates()
    y, x = _centroid(soft)
    unit = float(np.sqrt(_sharpened(soft).sum()))
    mask = _sampled(soft, y, x, unit)
    common = templates @ mask
    overlaps = common / (squares + mask @ mask - common)
    best = int(overlaps.argmax())
    shape, dx, dy, radius = places[best]
    return shape, float(x + dx * unit + 0.5), float(y + dy * unit + 0.5), radius * unit, float(overlaps[best])
