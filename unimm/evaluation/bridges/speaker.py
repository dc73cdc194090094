"""What both harnesses ask for: conversations in, one string each out."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL.Image import Image

from unimm.tables import pick
from unimm.whole import write_whole

if TYPE_CHECKING:
    from unimm.model import UniMM


@dataclass(frozen=True)
class Request:
    """One conversation to be continued."""

    messages: Sequence[Mapping[str, Any]]
    """In the common format, see `parts.from_messages`; the last one is the user's."""
    key: str
    """Names the pictures drawn, and gives them their seed; one to a request."""
    max_new_tokens: int = 128
    stops: tuple[str, ...] = ()
    """The reply ends before the first of these."""


@dataclass
class Speaker:
    """A model that continues conversations in one of `MODES`; greedy."""

    model: UniMM
    mode: str = "answer"
    folder: Path = Path("unimm-images")
    """Where pictures are saved."""
    seed: int = 0
    """With a request's key it gives the seed of its pictures."""
    batch_size: int = 16
    drawing: Mapping[str, Any] = field(default_factory=dict)
    """Options of `UniMM.generate_image`, such as num_inference_steps."""

    def __post_init__(self) -> None:
        pick("mode", self.mode, MODES)

    def replies(self, requests: Sequence[Request]) -> list[str]:
        """Return the reply to each request, in their order; alike ones go through the model together.

        Raises:
            ValueError: a request that the mode has no answer to, or that is too long for the model.
        """
        groups: dict[Any, list[int]] = {}
        for place, request in enumerate(requests):
            groups.setdefault(_likeness(request), []).append(place)
        said: dict[int, str] = {}
        for places in groups.values():
            for start in range(0, len(places), self.batch_size):
                batch = places[start : start + self.batch_size]
                said |= zip(batch, MODES[self.mode](self, [requests[place] for place in batch]), strict=True)
        return [cut(said[place], request.stops) for place, request in enumerate(requests)]

    def seed_of(self, request: Request) -> int:
        """Return the seed of a request's first picture; it depends on nothing but its key and our seed."""
        digest = hashlib.sha256(f"{self.seed} {request.key}".encode()).digest()
        return int.from_bytes(digest[:4], "little") >> 1

    def save(self, request: Request, images: Sequence[Image]) -> list[str]:
        """Save the pictures of a request; return their paths."""
        self.folder.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"[^\w.-]", "_", request.key)
        return [
            str(write_whole(self.folder / f"{name}-{number}.png", _png(image)))
            for number, image in enumerate(images)
        ]


def answer(speaker: Speaker, requests: Sequence[Request]) -> list[str]:
    """Return words alone: no picture is drawn."""
    if _one_picture(requests[0]):
        asked = [request.messages[0]["content"] for request in requests]
        return speaker.model.answer(
            [content[0]["image"] for content in asked],
            [content[1]["text"] for content in asked],
            max_new_tokens=requests[0].max_new_tokens,
        )
    return [
        speaker.model.chat(request.messages, max_new_tokens=request.max_new_tokens, max_images=0).text
        for request in requests
    ]


def draw(speaker: Speaker, requests: Sequence[Request]) -> list[str]:
    """Return JSON {"text", "images"}: a picture of the words, drawn after the pictures of the request.

    Raises:
        ValueError: a conversation of several turns, or one without words.
    """
    prompts, pictures = [], []
    for request in requests:
        prompts.append(_words(request))
        pictures.append(
            [part["image"] for part in request.messages[-1]["content"] if part["type"] == "image"]
        )
    seeds = [speaker.seed_of(request) for request in requests]
    given = {"images": pictures} if pictures[0] else {}
    drawn = speaker.model.generate_image(prompts, seed=seeds, **given, **speaker.drawing).images
    return [_json("", speaker.save(request, [image])) for request, image in zip(requests, drawn, strict=True)]


def chat(speaker: Speaker, requests: Sequence[Request]) -> list[str]:
    """Return what the model says, as JSON {"text", "images"} where it decided to draw."""
    replies = []
    options = {key: speaker.drawing[key] for key in _CHAT_OPTIONS if key in speaker.drawing}
    for request in requests:
        reply = speaker.model.chat(
            request.messages, max_new_tokens=request.max_new_tokens, seed=speaker.seed_of(request), **options
        )
        paths = speaker.save(request, reply.images)
        replies.append(_json(reply.text, paths) if paths else reply.text)
    return replies


MODES: dict[str, Callable[[Speaker, Sequence[Request]], list[str]]] = {
    "answer": answer,
    "draw": draw,
    "chat": chat,
}
"""Ways to reply, by the name that the harness is given."""

_CHAT_OPTIONS = ("num_inference_steps", "guidance_scale", "sampler")


def cut(text: str, stops: Sequence[str]) -> str:
    """Return a text up to the first of the stops that are in it."""
    ends = [text.find(stop) for stop in stops if stop and stop in text]
    return text[: min(ends)].rstrip() if ends else text


def content_of(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return a message's parts; words alone are one part."""
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _likeness(request: Request) -> tuple[Any, ...]:
    """Return what requests that go together share."""
    kinds = tuple(part["type"] for message in request.messages for part in content_of(message))
    return _one_picture(request), kinds.count("image"), request.max_new_tokens


def _one_picture(request: Request) -> bool:
    """Whether a request is one turn of a picture and then words, which `UniMM.answer` takes in batches."""
    kinds = [part["type"] for part in content_of(request.messages[0])]
    return len(request.messages) == 1 and kinds == ["image", "text"]


def _words(request: Request) -> str:
    if len(request.messages) != 1:
        raise ValueError(f"{request.key}: expected one turn to draw from, got {len(request.messages)}")
    parts = content_of(request.messages[0])
    words = "\n".join(part["text"] for part in parts if part["type"] == "text").strip()
    if not words:
        raise ValueError(f"{request.key}: expected words to draw from, got none")
    return words


def _json(text: str, paths: Sequence[str]) -> str:
    return json.dumps({"text": text, "images": list(paths)}, ensure_ascii=False)


def _png(image: Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
