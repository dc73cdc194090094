"""Contractions that annotators write without their apostrophes, as VQA evaluation restores them.

The words are those of https://github.com/GT-Vision-Lab/VQA (a013f00, `vqaEval.py`).
"""

from __future__ import annotations

_MISSING_ONE = """
ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's
I'm I've isn't it'd it'll ma'am mightn't might've mustn't must've needn't not've o'clock oughtn't shan't
should've shouldn't somebody'll somebody's someone'd someone'll someone's something'd something'll that's
there'd there're there's they'd they'll they're they've 'twas wasn't we've weren't what'll what're what's
what've when's where'd where's where've who'd who'll who's who've why'll why're why's won't would've wouldn't
y'all you'd you'll you're you've
"""

_MISSING_ONE_OF_SEVERAL = """
couldn't've hadn't've he'd've I'd've it'd've mightn't've she'd've shouldn't've somebody'd've someone'd've
something'd've there'd've they'd've we'd've who'd've wouldn't've y'all'll you'd've y'all'd've 'ow's'at
"""


def _without_one(word: str) -> list[str]:
    return [word[:at] + word[at + 1 :] for at, letter in enumerate(word) if letter == "'"]


CONTRACTIONS: dict[str, str] = {
    **{word.replace("'", ""): word for word in _MISSING_ONE.split()},
    **{short: word for word in _MISSING_ONE_OF_SEVERAL.split() for short in _without_one(word)},
    "somebody'd": "somebodyd",  # the wrong way round in the official table
}
"""What is written, to what is meant. Keys with a capital never match: text is lower-cased before."""
