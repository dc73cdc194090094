"""The normal form of data: turns made of text and image parts, and the batch a model eats.

Everything that talks (chat, recipes, evaluation) is first brought to `Turn`s; everything that is trained is
a `Batch`. Letters: B rows, T text positions, N latent tokens of one image, C latent channels, I context
images, J target images.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

ROLES = ("system", "user", "assistant")
IGNORED = -100  # label of a position without a loss; the value torch's cross entropy skips


@dataclass(frozen=True)
class Text:
    """Words, exactly as they are written."""

    text: str


@dataclass(frozen=True)
class Image:
    """A picture: as anything the pixel loader opens, or as normalised latents [N C], or both.

    `target` marks the picture the model is to draw (its place holds query tokens); any other picture is seen
    (its place holds projected latents). `latents` are those a model draws; `seen` [N C'] are those it sees,
    where they are others.
    """

    image: Any = None
    latents: Tensor | None = None
    target: bool = False
    seen: Tensor | None = None


Part = Text | Image


@dataclass(frozen=True)
class Turn:
    """What one speaker says: `role` is one of `ROLES`, `parts` in reading order."""

    role: str
    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(
                f"role: expected one of {', '.join(ROLES)}, got {self.role!r}{_suggest(self.role, ROLES)}"
            )


def from_messages(messages: Sequence[Mapping[str, Any]]) -> tuple[Turn, ...]:
    """Return chat messages in the common format as turns.

    Each message is `{"role": ..., "content": ...}`; the content is a string, or a list of
    `{"type": "text", "text": str}` and `{"type": "image", "image": ...}`, where an image item may carry
    `"latents"` [N C], or `"seen"` [N C'], instead of, or beside, the picture (see `Image`).

    Raises:
        ValueError: a message, role or content item of another form.
    """
    if isinstance(messages, (str, Mapping)) or not isinstance(messages, Sequence):
        raise ValueError(f"messages: expected a list of {{'role', 'content'}}, got {type(messages).__name__}")
    if not messages:
        raise ValueError("messages: expected at least one message, got none")
    return tuple(_turn(index, message) for index, message in enumerate(messages))


@dataclass(frozen=True)
class Run:
    """Where one image stands in a [B T] matrix of tokens: `length` slots of `row` from `start` on."""

    row: int
    start: int
    length: int


@dataclass
class Batch:
    """Rows of tokens with their images, right-padded.

    Args:
        input_ids: [B T] int64.
        labels: [B T] int64; the token itself where it is to be predicted, -100 elsewhere (not shifted).
        attention_mask: [B T] bool, true on tokens, false on the padding at the right.
        context_runs: slots of the I images that are seen, rows first, then reading order.
        context_latents: [I N C] normalised, in the order of the runs, or None when I = 0.
        query_runs: slots of the J images that are drawn, same order.
        target_latents: [J N C] normalised, or None when J = 0 or nothing is trained.
        samples: where the samples stand that share rows, row by row; empty where each row is one sample.
            Positions begin again with each, and none sees another.
    """

    input_ids: Tensor
    labels: Tensor
    attention_mask: Tensor
    context_runs: tuple[Run, ...] = ()
    context_latents: Tensor | None = None
    query_runs: tuple[Run, ...] = ()
    target_latents: Tensor | None = None
    samples: tuple[Run, ...] = ()

    def to(self, device: torch.device | str) -> Batch:
        """Return the same batch with its tensors on `device`."""
        moved = {
            name: value.to(device, non_blocking=True)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return replace(self, **moved)


def _turn(index: int, message: Mapping[str, Any]) -> Turn:
    where = f"messages[{index}]"
    if not isinstance(message, Mapping) or "role" not in message or "content" not in message:
        raise ValueError(f"{where}: expected a mapping with 'role' and 'content', got {_short(message)}")
    content = message["content"]
    if isinstance(content, str):
        return Turn(message["role"], (Text(content),))
    if not isinstance(content, Sequence):
        raise ValueError(
            f"{where}.content: expected a string or a list of parts, got {type(content).__name__}"
        )
    return Turn(
        message["role"], tuple(_part(f"{where}.content[{i}]", item) for i, item in enumerate(content))
    )


def _part(where: str, item: Any) -> Part:
    kind = item.get("type") if isinstance(item, Mapping) else None
    if kind == "text" and isinstance(item.get("text"), str):
        return Text(item["text"])
    if kind == "image":
        source, latents, seen = item.get("image", item.get("path")), item.get("latents"), item.get("seen")
        if source is None and latents is None and seen is None:
            raise ValueError(
                f"{where}: expected an image under 'image' (or 'path', or 'latents'), got keys {sorted(item)}"
            )
        return Image(source, latents, seen=seen)
    raise ValueError(
        f"{where}: expected {{'type': 'text', 'text': str}} or {{'type': 'image', 'image': ...}}, "
        f"got {_short(item)}"
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _suggest(name: Any, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(str(name), known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
