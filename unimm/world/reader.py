"""Reading a picture of the world back into a scene, from its pixels alone and with no model.

The ground is found at the border, what differs from it is separated by colour and into connected parts, and
each part is named after the outline that it fits. A part that fits none well is left out: a smudge is no
thing. The thresholds were set on renders that were blurred, resampled, compressed and made noisy, never on
pictures that a model drew.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image

from unimm.world import vocabulary as words
from unimm.world.outlines import classify, components, dilated, eroded
from unimm.world.render import render
from unimm.world.scene import Scene, Thing, Writing

_SIDE = 80  # pictures are read at this size; a small thing is 20 pixels wide there
_LEAST_SIDE = 16  # of a picture; there is nothing to see in smaller ones
_BORDER = 2  # pixels at the rim that no thing reaches
_GROUND = (0.82, 1.04)  # relative brightness of the ground: two shadows may meet
_LIGHT = (0.84, 1.12)  # relative brightness of a thing: its own light, and a little of a neighbour's shadow
_LEAST_CONTRAST = 40.0  # of a thing with its ground; white, darkened, is 56 away from the brightest sky
_MOST_DISTANT = (
    60.0  # of a pixel from the colour it may be named after (8-bit sRGB); colours are 75 and more apart
)
_LEAST_CORE = 6  # pixels that two erosions leave of the smallest thing, at the least
_LEAST_AREA = 60  # pixels; the smallest thing, a small diamond, covers 140
_LEAST_OVERLAP = (
    0.84  # with the outline: degraded renders stay above 0.92, wobbly outlines about 0.85, most smudges below
)
_LEAST_WORD_OVERLAP = 0.60
_RADII = (
    0.8 * words.SIZES["small"][0],
    1.2 * words.SIZES["large"][1],
)  # what is smaller or larger is no thing
_WORD_SLACK = 4  # pixels by which a word's bounding box may differ from the ideal one's

_COLOURS = np.asarray(list(words.COLOURS.values()), np.float32)
_NAMES = tuple(words.COLOURS)
_TONES = np.asarray(list(words.BACKGROUNDS.values()), np.float32)
_FALL = np.linspace(1.05, 0.95, _SIDE, dtype=np.float32)[
    :, None
]  # the ground's brightness by row, as it is drawn


def read(image: np.ndarray | Image.Image) -> Scene:
    """Return the scene that a picture shows.

    Args:
        image: uint8 sRGB [H W 3] or a Pillow image, square, at least 16 pixels wide; 80 and more read best.

    Returns:
        background, things (in reading order of their topmost pixels), and the writing if a word is known.

    Raises:
        ValueError: not a square colour picture of at least 16 pixels.
    """
    pixels = _prepared(image)
    background = _background(pixels)
    ground = _distances(pixels, _TONES[background] * _FALL[:, None, :], _GROUND)[..., 0]
    writing, inked = _read_word(pixels, ground)
    ground = np.where(inked, 0, ground)
    return Scene(tuple(words.BACKGROUNDS)[background], _read_things(pixels, ground), writing)


def _prepared(image: np.ndarray | Image.Image) -> np.ndarray:
    """Return the picture at the reading size, float32 [side side 3] in 0..255."""
    if not isinstance(image, Image.Image):
        array = np.asarray(image)
        if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
            raise ValueError(f"image: expected uint8 [H W 3], got {array.dtype} {list(array.shape)}")
        image = Image.fromarray(array)
    if image.width != image.height or image.width < _LEAST_SIDE:
        raise ValueError(
            f"image: expected a square of at least {_LEAST_SIDE} pixels, got {image.width}x{image.height}"
        )
    image = image.convert("RGB")
    if image.width != _SIDE:
        image = image.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    return np.asarray(image, np.float32)


def _background(pixels: np.ndarray) -> int:
    """Return the index of the background whose tone is nearest to the border's."""
    rim = np.ones((_SIDE, _SIDE), bool)
    rim[_BORDER:-_BORDER, _BORDER:-_BORDER] = False
    tone = np.median((pixels / _FALL[:, None, :])[rim], axis=0)
    return int(np.square(_TONES - tone).sum(1).argmin())


def _distances(pixels: np.ndarray, colours: np.ndarray, brightness: tuple[float, float]) -> np.ndarray:
    """Return each pixel's distance to each colour at the brightness that suits it best.

    Args:
        pixels: [H W 3].
        colours: [K 3], or [H 1 3] for one colour that varies by row.

    Returns:
        [H W K], Euclidean, 8-bit sRGB.
    """
    if colours.ndim == 3:
        dots, squares = (pixels * colours).sum(-1, keepdims=True), np.square(colours).sum(-1, keepdims=True)
    else:
        dots, squares = pixels @ colours.T, np.square(colours).sum(-1)
    scale = np.clip(dots / squares, *brightness)
    return np.sqrt(
        np.maximum(np.square(pixels).sum(-1, keepdims=True) - 2 * scale * dots + scale**2 * squares, 0)
    )


def _read_things(pixels: np.ndarray, ground: np.ndarray) -> tuple[Thing, ...]:
    distances = _distances(pixels, _COLOURS, _LIGHT)
    present = _present_colours(distances, ground)
    things = []
    for colour, body in _bodies(distances, ground, present):
        if body.sum() < _LEAST_AREA or np.median(ground[body]) < _LEAST_CONTRAST:
            continue
        shape, x, y, radius, overlap = classify(_coverage(distances[..., colour], ground, body))
        if overlap >= _LEAST_OVERLAP and _RADII[0] <= radius / _SIDE <= _RADII[1]:
            first = int(np.flatnonzero(body)[0])
            things.append((first, Thing(shape, _NAMES[colour], x / _SIDE, y / _SIDE, radius / _SIDE)))
    return tuple(thing for _, thing in sorted(things, key=lambda entry: entry[0]))


def _named(distances: np.ndarray, ground: np.ndarray, present: list[int]) -> np.ndarray:
    """Return each pixel's nearest of the colours present; -1 where the ground is nearer or none is near."""
    allowed = distances[..., present]
    nearest = allowed.argmin(-1)
    least = np.take_along_axis(allowed, nearest[..., None], -1)[..., 0]
    return np.where((least < ground) & (least < _MOST_DISTANT), np.asarray(present)[nearest], -1)


def _present_colours(distances: np.ndarray, ground: np.ndarray) -> list[int]:
    """Return the colours that have a core: blends at an edge may look like another, but are thin."""
    named = _named(distances, ground, list(range(len(_NAMES))))
    found = np.bincount(named[named >= 0], minlength=len(_NAMES)) >= _LEAST_AREA // 2
    return [i for i in np.flatnonzero(found).tolist() if eroded(eroded(named == i)).sum() >= _LEAST_CORE]


def _bodies(distances: np.ndarray, ground: np.ndarray, present: list[int]) -> list[tuple[int, np.ndarray]]:
    """Return (colour, mask) of each connected part with a core."""
    if not present:
        return []
    named = _named(distances, ground, present)
    parts = [(colour, part) for colour in present for part in components(named == colour)]
    return [(colour, part) for colour, part in parts if eroded(eroded(part)).sum() >= _LEAST_CORE]


def _coverage(distance: np.ndarray, ground: np.ndarray, body: np.ndarray) -> np.ndarray:
    """Return how much of each pixel a thing covers, [H W] in [0, 1]; only its pixels and their neighbours."""
    soft = ground / (ground + distance + 1e-3)
    return np.where(body, np.maximum(soft, 0.5001), np.where(dilated(body), np.minimum(soft, 0.5), 0))


def _box(mask: np.ndarray) -> np.ndarray:
    """Crop a mask to what is in it."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _inked(ground: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Return what stands out from the ground by half as much as the strongest does."""
    strongest = np.percentile(ground[where], 90)
    return where & (ground > strongest / 2)


@lru_cache(maxsize=1)
def _word_masks() -> dict[str, np.ndarray]:
    """Return the mask of every word, as it is read from a perfect picture."""
    masks = {}
    for text in words.WORDS:
        pixels = render(Scene("mint", (), Writing(text, "black", 0.5, 0.5)), _SIDE).astype(np.float32)
        ground = _distances(pixels, np.asarray(words.BACKGROUNDS["mint"]) * _FALL[:, None, :], _GROUND)[
            ..., 0
        ]
        masks[text] = _box(_inked(ground, ground > 20))
    return masks


def _read_word(pixels: np.ndarray, ground: np.ndarray) -> tuple[Writing | None, np.ndarray]:
    """Return the word, if there is one, and the pixels that belong to it."""
    nothing = np.zeros_like(ground, bool)
    parts = components(ground > 37)  # half the least distance of a colour from a background
    upper = [part for part in parts if not part[_SIDE // 2 :].any()]
    for group in (parts, upper):
        group = [part for part in group if part.sum() > 8]
        if not group:
            continue
        mask = _inked(ground, dilated(np.logical_or.reduce(group)))
        text, overlap = _nearest_word(_box(mask))
        if overlap >= _LEAST_WORD_OVERLAP:
            rows, columns = np.nonzero(mask)
            x, y = (columns.min() + columns.max() + 1) / 2 / _SIDE, (rows.min() + rows.max() + 1) / 2 / _SIDE
            strokes = eroded(mask) if eroded(mask).sum() > 20 else mask
            colour = _distances(np.median(pixels[strokes], axis=0)[None, None], _COLOURS, (1.0, 1.0)).argmin()
            letters = np.logical_or.reduce([part for part in group if (part & mask).any()])
            return Writing(text, _NAMES[int(colour)], x, y), dilated(dilated(letters))
    return None, nothing


def _nearest_word(mask: np.ndarray) -> tuple[str, float]:
    """Return the word whose mask overlaps a mask most, and the intersection over union at the best shift."""
    best = ("", 0.0)
    for text, ideal in _word_masks().items():
        slack = np.abs(np.subtract(mask.shape, ideal.shape))
        if slack.max() > _WORD_SLACK:
            continue
        room = np.pad(mask, _WORD_SLACK)
        height, width = ideal.shape
        total = int(mask.sum()) + int(ideal.sum())
        for dy in range(room.shape[0] - height + 1):
            for dx in range(room.shape[1] - width + 1):
                common = int((room[dy : dy + height, dx : dx + width] & ideal).sum())
                best = max(best, (text, common / (total - common)), key=lambda entry: entry[1])
    return best
