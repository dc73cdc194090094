"""Drawing a scene: anti-aliased outlines, a soft light from the upper left, a soft shadow."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from unimm.world import vocabulary as words
from unimm.world.scene import Scene, Thing, Writing

_SUBSAMPLES = 4  # per axis; 16 levels of coverage at an outline
_SHADOW = 0.10  # darkest shadow; more than this is read as an object by the scene reader
_LIGHT = 0.12  # relative brightening towards the light, and darkening away from it
_WORD_HEIGHT = 0.30  # of the picture's side
_WORD_WIDTH = 0.80


def _star(u, v):
    angle = np.arctan2(u, -v) % (2 * np.pi / 5) - np.pi / 5
    # The edge from an outer corner (radius 1) to an inner one (radius 0.45), in polar form.
    inner, half = 0.45, np.pi / 5
    across = inner * np.sin(half) / (1 - inner * np.cos(half))
    turned = half - np.abs(angle)
    return np.hypot(u, v) * (np.cos(turned) + np.sin(turned) / across) <= 1


def _heart(u, v):
    x, y = 1.22 * u, 0.13 - 1.22 * v
    return (x * x + y * y - 1) ** 3 <= x * x * y**3


# Whether the point (u, v) is inside; u to the right, v downwards, in units of the thing's radius.
OUTLINES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "circle": lambda u, v: u * u + v * v <= 0.92**2,
    "square": lambda u, v: np.maximum(np.abs(u), np.abs(v)) <= 0.80,
    "triangle": lambda u, v: (v <= 0.72) & (np.abs(u) * 1.72 <= v + 0.98),
    "diamond": lambda u, v: np.abs(u) / 0.70 + np.abs(v) <= 1.0,
    "star": _star,
    "heart": _heart,
    "cross": lambda u, v: (
        (np.minimum(np.abs(u), np.abs(v)) <= 0.30) & (np.maximum(np.abs(u), np.abs(v)) <= 0.95)
    ),
    "moon": lambda u, v: (u * u + v * v <= 0.95**2) & ((u - 0.48) ** 2 + (v + 0.10) ** 2 > 0.78**2),
}


def _grid(low: float, high: float, pixels: int) -> np.ndarray:
    """Indices of the pixels between two fractions of the side, clipped to the picture."""
    return np.arange(max(0, int(low * pixels)), min(pixels, int(np.ceil(high * pixels)) + 1))


def coverage(thing: Thing, rows: np.ndarray, columns: np.ndarray, pixels: int) -> np.ndarray:
    """Return how much of each pixel the thing covers, in [0, 1], shape [rows columns]."""
    offsets = (np.arange(_SUBSAMPLES) + 0.5) / _SUBSAMPLES
    v = ((rows[:, None] + offsets).ravel() / pixels - thing.y) / thing.radius
    u = ((columns[:, None] + offsets).ravel() / pixels - thing.x) / thing.radius
    inside = OUTLINES[thing.shape](u[None, :], v[:, None])
    return inside.reshape(len(rows), _SUBSAMPLES, len(columns), _SUBSAMPLES).mean((1, 3), dtype=np.float32)


def _paint(canvas: np.ndarray, thing: Thing) -> None:
    pixels = len(canvas)
    rows = _grid(thing.y - 1.3 * thing.radius, thing.y + 1.6 * thing.radius, pixels)
    columns = _grid(thing.x - 1.3 * thing.radius, thing.x + 1.6 * thing.radius, pixels)
    patch = canvas[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    v = (((rows + 0.5) / pixels - thing.y) / thing.radius).astype(np.float32)[:, None]
    u = (((columns + 0.5) / pixels - thing.x) / thing.radius).astype(np.float32)[None, :]
    shadow = _SHADOW * np.clip(1.35 - np.hypot(u - 0.14, v - 0.20), 0, 0.5) / 0.5
    patch *= 1 - shadow[..., None]
    light = 1 - _LIGHT * np.clip((u + v) / 1.4, -1, 1)
    colour = np.clip(light[..., None] * np.asarray(words.COLOURS[thing.colour], np.float32) / 255, 0, 1)
    alpha = coverage(thing, rows, columns, pixels)[..., None]
    patch += alpha * (colour - patch)


@lru_cache(maxsize=64)
def _word_mask(text: str, pixels: int) -> np.ndarray:
    """Return the coverage of a word, cropped to its ink, [h w] in [0, 1]."""
    scale = _SUBSAMPLES
    font = ImageFont.load_default(size=int(pixels * scale * _WORD_HEIGHT * 1.35))
    left, top, right, bottom = font.getbbox(text.upper(), stroke_width=pixels * scale // 100)
    image = Image.new("L", (int(right - left) + 2, int(bottom - top) + 2))
    ImageDraw.Draw(image).text(
        (1 - left, 1 - top), text.upper(), 255, font, stroke_width=pixels * scale // 100
    )
    shrink = min(_WORD_WIDTH * pixels / image.width, _WORD_HEIGHT * pixels / image.height)
    size = (max(1, round(image.width * shrink)), max(1, round(image.height * shrink)))
    return np.asarray(image.resize(size, Image.Resampling.BOX), np.float32) / 255


def _write(canvas: np.ndarray, writing: Writing) -> None:
    mask = _word_mask(writing.text, len(canvas))[..., None]
    top = round(writing.y * len(canvas) - mask.shape[0] / 2)
    left = round(writing.x * len(canvas) - mask.shape[1] / 2)
    patch = canvas[top : top + mask.shape[0], left : left + mask.shape[1]]
    patch += mask * (np.asarray(words.COLOURS[writing.colour], np.float32) / 255 - patch)


def _backdrop(name: str, pixels: int) -> np.ndarray:
    """A tone that is a little lighter at the top: a horizonless studio wall."""
    fall = np.linspace(1.05, 0.95, pixels, dtype=np.float32)[:, None, None]
    tone = np.asarray(words.BACKGROUNDS[name], np.float32) / 255
    return np.clip(np.broadcast_to(tone, (pixels, pixels, 3)) * fall, 0, 1)


def render(scene: Scene, pixels: int) -> np.ndarray:
    """Draw the scene.

    Args:
        pixels: side of the square picture.

    Returns:
        uint8 sRGB, [pixels pixels 3].
    """
    canvas = _backdrop(scene.background, pixels)
    for thing in scene.things:
        _paint(canvas, thing)
    if scene.writing is not None:
        _write(canvas, scene.writing)
    return np.round(canvas * 255).astype(np.uint8)
