"""The words of the world: shapes, colours, sizes, backgrounds and the short words that can be written in it.

Colours are GenEval's ten (https://github.com/djghosh13/geneval). Background tones are muted on purpose: every
colour, white and black among them, stays at least 75 (Euclidean, 8-bit sRGB) away from every background, so
that a picture can be read back from its pixels alone.
"""

SHAPES = ("circle", "square", "triangle", "diamond", "star", "heart", "cross", "moon")

COLOURS = {
    "red": (216, 38, 40),
    "orange": (244, 138, 28),
    "yellow": (250, 216, 48),
    "green": (36, 148, 66),
    "blue": (38, 84, 214),
    "purple": (128, 44, 168),
    "pink": (252, 122, 178),
    "brown": (118, 72, 36),
    "black": (24, 24, 30),
    "white": (250, 250, 250),
}

BACKGROUNDS = {
    "sand": (212, 194, 156),
    "sky": (160, 196, 226),
    "mint": (160, 206, 180),
    "lilac": (188, 172, 214),
    "slate": (116, 128, 144),
}

# Radius of the circumscribed circle as a fraction of the picture's side: (smallest, largest).
SIZES = {"small": (0.125, 0.145), "large": (0.180, 0.200)}

WORDS = ("hi", "yes", "no", "go", "up", "sun", "cat", "dog", "joy", "art", "sky", "tea")

COUNT_WORDS = {1: "one", 2: "two", 3: "three", 4: "four"}

RELATIONS = ("left of", "right of", "above", "below")

OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


def plural(shape: str) -> str:
    """Return the plural of a shape's name."""
    return shape + ("es" if shape.endswith("s") else "s")


def article(noun: str) -> str:
    """Return the noun with its indefinite article."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun
