"""A reply as it comes into being: words, strokes and pictures, in the order the model decides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from PIL.Image import Image as Picture
from torch import Tensor

from unimm.flow.guidance import Interval
from unimm.model.context import Context
from unimm.model.drawing import Sampling, drawing_steps, sampling_of, show
from unimm.model.inputs import check_length, rows_of, tokenizer_of, turns_with_latents
from unimm.parts import Image, from_messages
from unimm.request import first_seed, positive
from unimm.tables import expect_known
from unimm.text.chat import Rendered
from unimm.text.stream import TextStream
from unimm.text.tokenizer import SpecialIds, special_ids

if TYPE_CHECKING:
    from unimm.model.unimm import UniMM


Reason = Literal["stop", "length", "no_image"]
"""Why a reply ended: the model ended its turn, or ran out of tokens, or did either without a picture that the
caller wanted."""


@dataclass(frozen=True)
class TokenEvent:
    """Some more words."""

    text: str


@dataclass(frozen=True)
class DrawingEvent:
    """A picture is under way: `step` of `total` are done."""

    step: int
    total: int


@dataclass(frozen=True)
class ImageEvent:
    """A picture is finished."""

    image: Picture
    latents: Tensor  # [N C] normalised, float32


@dataclass(frozen=True)
class DoneEvent:
    """The reply is complete; `message` can be appended to the conversation as it is."""

    message: dict[str, Any]
    reason: Reason


Event = TokenEvent | DrawingEvent | ImageEvent | DoneEvent


@dataclass(frozen=True)
class Reply:
    """A complete reply."""

    text: str
    images: list[Picture]
    latents: list[Tensor]
    message: dict[str, Any]
    reason: Reason = "stop"

    @property
    def lacks_image(self) -> bool:
        """Whether a picture was wanted and the model answered in words alone ("forced" draws one)."""
        return self.reason == "no_image"


@dataclass(frozen=True)
class ReplySettings:
    """How a reply is made."""

    sampling: Sampling
    seed: int  # of its first picture; the next one takes the next number
    max_new_tokens: int
    max_images: int
    image_start: str  # a row of STARTS


STARTS = ("model", "wanted", "forced")
"""Who begins a picture: the model, where it will; the model, and a reply without one says so; the caller, at
once."""


def respond(
    model: UniMM,
    messages: Sequence[Mapping[str, Any]],
    *,
    context: Context | None = None,
    max_new_tokens: int = 256,
    max_images: int = 4,
    num_inference_steps: int = 50,
    guidance_scale: float | None = None,
    guidance_interval: Interval | None = None,
    sampler: str | None = None,
    solver: str | None = None,
    grid: str | None = None,
    seed: int | None = None,
    image_start: str = "model",
) -> Iterator[Event]:
    """Check the messages at once, then yield the reply; the arguments are documented at `UniMM.respond`."""
    turns = from_messages(messages)
    if turns[-1].role != "user":
        raise ValueError(f"messages: expected the last one from the user, got one from the {turns[-1].role}")
    if not any(isinstance(part, Image) or part.text.strip() for part in turns[-1].parts):
        raise ValueError("messages: expected some words or a picture from the user, got nothing")
    if isinstance(max_images, bool) or not isinstance(max_images, int) or max_images < 0:
        raise ValueError(f"max_images: expected 0 or more, got {max_images!r}")
    sampling = sampling_of(
        model,
        num_inference_steps,
        guidance_scale,
        sampler,
        solver=solver,
        grid=grid,
        guidance_interval=guidance_interval,
    )
    expect_known("image_start", image_start, STARTS)
    if image_start != "model" and max_images == 0:
        raise ValueError(f"max_images: expected 1 or more with image_start={image_start!r}, got 0")
    settings = ReplySettings(
        sampling, first_seed(seed), positive("max_new_tokens", max_new_tokens), max_images, image_start
    )
    row = rows_of(model, [turns_with_latents(model, turns)], open_turn=True)[0]
    if image_start == "forced":
        check_length(model, len(row.ids) + model.config.settings.num_queries + 2)
    context = Context(model) if context is None else context
    return _Responder(model, context, settings).reply(row)


def collect(events: Iterator[Event]) -> Reply:
    """Return the whole reply of a stream of events."""
    text, images, latents, message, reason = "", [], [], {}, "stop"
    for event in events:
        if isinstance(event, TokenEvent):
            text += event.text
        elif isinstance(event, ImageEvent):
            images.append(event.image)
            latents.append(event.latents)
        elif isinstance(event, DoneEvent):
            message, reason = event.message, event.reason
    return Reply(text.strip(), images, latents, message, reason)


class _Responder:
    """One reply under way."""

    def __init__(self, model: UniMM, context: Context, settings: ReplySettings) -> None:
        self.model, self.context, self.settings = model, context, settings
        self.marks: SpecialIds = special_ids(tokenizer_of(model))
        self.stream = TextStream(tokenizer_of(model))
        self.content: list[dict[str, Any]] = []
        self.num_images = 0

    @torch.no_grad()
    def reply(self, row: Rendered) -> Iterator[Event]:
        """Yield words and pictures until the model ends its turn."""
        state, reason = self.context.read(row), "length"
        if self.settings.image_start == "forced":
            state = yield from self._picture()
        for _ in range(self.settings.max_new_tokens):
            token = self._next(state)
            if token == self.marks.turn_end:
                reason = "stop"
                break
            if self._room() < 1:
                break
            if token == self.marks.image_start:
                yield from self._words(self.stream.flush())
                state = yield from self._picture()
            else:
                state = self.context.append(token)
                yield from self._words(self.stream.push(token))
        yield from self._words(self.stream.flush())
        if self.settings.image_start == "wanted" and not self.num_images:
            reason = "no_image"
        yield DoneEvent({"role": "assistant", "content": self.content}, reason)

    def _next(self, state: Tensor) -> int:
        """Return the likeliest token that may stand here."""
        logits = self.model.llm.lm_head(state)
        forbidden = [self.marks.image_slot, self.marks.image_end, self.marks.turn_start, self.marks.pad]
        if (
            self.num_images == self.settings.max_images
            or self._room() < self.model.config.settings.num_queries + 2
        ):
            forbidden.append(self.marks.image_start)
        logits[forbidden] = -torch.inf
        return int(logits.argmax())

    def _room(self) -> int:
        return self.model.config.settings.llm.context - len(self.context)

    def _words(self, text: str) -> Iterator[TokenEvent]:
        if not text:
            return
        if self.content and self.content[-1]["type"] == "text":
            self.content[-1]["text"] += text
        else:
            self.content.append({"type": "text", "text": text})
        yield TokenEvent(text)

    def _picture(self) -> Iterator[Event]:
        """Draw a picture; return the state after it. Its slots hold what was drawn, as in later turns."""
        self.context.append(self.marks.image_start)
        conditions = self.model.connector(self.context.ask_queries())
        seed, latents = self.settings.seed + self.num_images, None
        for state in drawing_steps(self.model, conditions, [seed], self.settings.sampling):
            yield DrawingEvent(state.step, state.total)
            latents = state.latents
        part = self.context.append_image(latents[0], self.marks.image_slot)
        image = show(self.model, latents[None], "pil")[0]
        self.num_images += 1
        as_seen = {} if part.seen is None else {"seen": part.seen}
        self.content.append({"type": "image", "image": image, "latents": latents[0], **as_seen})
        yield ImageEvent(image, latents[0])
        return self.context.append(self.marks.image_end)
