"""What a judging model is asked about a picture of a WISE prompt, and how its reply is read.

WISE's own requests (https://github.com/PKU-YuanGroup/WISE) carry no licence, so they are not shipped: these
ask for the same marks on the same scales in words of our own. Whoever wants the official words gives them in
a file, with {Prompt} and {Explanation} in it. Either way the request's hash is part of what a record is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VERIFIED = """A model drew a picture of a prompt that takes knowledge to be drawn rightly. Judge the picture.

Prompt: {Prompt}
What a right picture shows, and why: {Explanation}

Mark 1 if the picture plainly shows what the explanation asks for and is drawn well enough to tell. Mark 0 if
it shows only the words of the prompt without what they imply, if something essential is missing, wrong or
contradicted, if the picture is too damaged to tell, or if you are in doubt. Beauty and style do not matter.

Reply with one line and nothing else: "Score: 0" or "Score: 1"."""

LEGACY = """A model drew a picture of a prompt that takes knowledge to be drawn rightly. Judge the picture.

Prompt: {Prompt}
What a right picture shows, and why: {Explanation}

Give three marks, each 0, 1 or 2; be strict, and keep 2 for what has no fault.
Consistency: how completely the picture shows what the prompt means.
Realism: how believable it is, in its physics, its materials and its details.
Aesthetic quality: how good it looks, in composition, colour and execution.

Reply with three lines and nothing else, such as:
Consistency: 0
Realism: 0
Aesthetic Quality: 0"""

REQUESTS: Mapping[str, str] = {"verified": VERIFIED, "legacy": LEGACY}
MARKS: Mapping[str, Mapping[str, int]] = {
    "verified": {"score": 1},
    "legacy": {"consistency": 2, "realism": 2, "aesthetic_quality": 2},
}
"""The marks of each protocol and the highest each can be."""
_LINE = r"^\W*{name}\W*([0-{most}])\b"


def request_of(protocol: str, facts: Mapping[str, Any], template: str | None = None) -> str:
    """Return what is asked about the picture of a prompt."""
    text = REQUESTS[protocol] if template is None else template
    for name in ("Prompt", "Explanation"):
        text = text.replace("{" + name + "}", facts[name])
    return text


def read_request(path: Path, allow_other: bool) -> tuple[str, None]:
    """Return the words of a request from a file; none are recorded, as the official ones carry no licence.

    Raises:
        ValueError: the prompt or its explanation has no place in it.
    """
    text = path.read_text(encoding="utf-8")
    lacking = [name for name in ("{Prompt}", "{Explanation}") if name not in text]
    if lacking:
        raise ValueError(f"{path}: expected a request with {' and '.join(lacking)} in it, found none")
    return text, None


def marks_of(protocol: str, reply: str) -> dict[str, int | None]:
    """Return the marks in a reply; None is one that is not there, is there twice, or off the scale."""
    marks: dict[str, int | None] = {}
    for name, most in MARKS[protocol].items():
        pattern = _LINE.format(name=name.replace("_", r"[ _]"), most=most)
        found = re.findall(pattern, reply, re.IGNORECASE | re.MULTILINE)
        marks[name] = int(found[0]) if len(found) == 1 else None
    return marks
