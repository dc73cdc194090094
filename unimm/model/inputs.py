"""From what a caller writes to what the rooms eat: prompts, pictures, turns and rows, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from unimm.latents.pixels import to_pixels
from unimm.model.placing import device_of
from unimm.parts import Batch, Image, Text, Turn
from unimm.request import passes
from unimm.shapes import expect
from unimm.text.chat import Rendered, collate, opened, render
from unimm.text.tokenizer import special_ids

if TYPE_CHECKING:
    from unimm.model.unimm import UniMM


@dataclass(frozen=True)
class Request:
    """A prompt, and the pictures that stand before it."""

    prompt: str
    pictures: tuple[Image, ...] = ()

    @property
    def key(self) -> tuple:
        """What is the same for requests that are the same."""
        return self.prompt, *(id(picture) for picture in self.pictures)


def tokenizer_of(model: UniMM) -> PreTrainedTokenizerFast:
    """Return the model's tokenizer, or say how to get one."""
    if model.tokenizer is None:
        raise ValueError(
            "tokenizer: this model has none; load it with UniMM.from_pretrained or set model.tokenizer"
        )
    return model.tokenizer


def image_list(images: Any) -> list[Image]:
    """Return pictures as parts: from one picture or a list, from latents [N C] or [M N C], or from parts."""
    if isinstance(images, Tensor) and images.ndim == 3:
        images = list(images)
    if isinstance(images, (list, tuple)):
        if not images:
            raise ValueError("image: expected at least one picture, got none")
        return [_image(item) for item in images]
    return [_image(images)]


@torch.no_grad()
def with_latents(model: UniMM, images: Sequence[Image]) -> list[Image]:
    """Return the parts with the latents that are seen of them; what lacks them is encoded together.

    Where a model sees what it draws, they stand in `latents` [N C]; else in `seen` [N C'], which are made of
    `latents`, if there are any, or of the picture.
    """
    settings, parts = model.config.settings, list(images)
    place = "latents" if settings.sees_drawn else "seen"
    for part in parts:
        _check_latents(model, part)
    drawn = [i for i, part in enumerate(parts) if getattr(part, place) is None and part.latents is not None]
    for piece in passes(len(drawn)):
        latents = torch.stack([parts[index].latents for index in drawn[piece]])
        latents = latents.to(device_of(model.statistics))
        _put(parts, drawn[piece], place, model.to_seen(latents))
    missing = [i for i, part in enumerate(parts) if getattr(part, place) is None]
    for piece in passes(len(missing)):
        pixels = to_pixels([parts[index].image for index in missing[piece]], settings.encoder.image_size)
        pixels = pixels.to(device_of(model.encoder), model.dtype)
        _put(parts, missing[piece], place, model.encode_image(pixels))
    return parts


def pictures_of(
    model: UniMM, images: Any, num_prompts: int | None, name: str = "images"
) -> list[tuple[Image, ...]]:
    """Return the pictures before each prompt, with their latents; the same picture is encoded once.

    Args:
        images: for one prompt a picture or a list of them; for a list of prompts a list of such lists, which
            may be empty; or None.
        num_prompts: P of a list of prompts, None for one prompt alone.
        name: what the caller calls them.

    Raises:
        ValueError: another number of lists than prompts, or something that is no picture.
    """
    if images is None:
        return [()] * (num_prompts or 1)
    groups = [images] if num_prompts is None else images
    lists = isinstance(groups, list | tuple) and all(isinstance(group, list | tuple) for group in groups)
    if num_prompts is not None and not (lists and len(groups) == num_prompts):
        got = f"{len(groups)} of them" if lists else f"{type(images).__name__} of something else"
        raise ValueError(
            f"{name}: expected a list of pictures for each of {num_prompts} prompts, such as "
            f"[[picture], []], got {got}"
        )
    parts = [image_list(group) if num_prompts is None or len(group) else [] for group in groups]
    keys = [[id(part.image if part.latents is None else part.latents) for part in group] for group in parts]
    distinct = dict(zip(chain(*keys), chain(*parts), strict=True))
    seen = dict(zip(distinct, with_latents(model, list(distinct.values())), strict=True))
    return [tuple(seen[key] for key in group) for group in keys]


def seen_latents(model: UniMM, images: Sequence[Image]) -> Tensor:
    """Return the latents [M N C'] that are seen of pictures, where the projector is and in its dtype."""
    found = [part.latents if part.seen is None else part.seen for part in with_latents(model, images)]
    device = device_of(model.projector)
    return torch.stack([latents.to(device, model.dtype) for latents in found])


def turns_with_latents(model: UniMM, turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """Return the turns with the latents of every picture in them."""
    images = [part for turn in turns for part in turn.parts if isinstance(part, Image)]
    found = iter(with_latents(model, images))
    return tuple(
        Turn(turn.role, tuple(next(found) if isinstance(part, Image) else part for part in turn.parts))
        for turn in turns
    )


def rows_of(model: UniMM, conversations: Sequence[Sequence[Turn]], open_turn: bool) -> list[Rendered]:
    """Return conversations as rows, each within the model's context, opened by its system turn if it has one.

    Raises:
        ValueError: a conversation longer than the context.
    """
    settings, rows = model.config.settings, []
    for turns in conversations:
        turns = opened(turns, settings.chat.system)
        row = render(turns, tokenizer_of(model), settings.num_queries, add_generation_prompt=open_turn)
        check_length(model, len(row.ids))
        rows.append(row)
    return rows


def check_length(model: UniMM, length: int) -> None:
    """Refuse a row longer than the context."""
    context = model.config.settings.llm.context
    if length > context:
        raise ValueError(
            f"prompt: expected at most {context} tokens (the model's context, pictures included), "
            f"got {length}; shorten it"
        )


def batch_of(model: UniMM, rows: Sequence[Rendered]) -> Batch:
    """Return rows as a batch where the LLM begins; pictures that carry no latents are encoded."""
    seen = [
        part for row in rows for slots, part in zip(row.runs, row.images, strict=True) if not slots.target
    ]
    pad = special_ids(tokenizer_of(model)).pad
    batch = collate(rows, pad, seen_latents(model, seen) if seen else None)
    return batch.to(device_of(model.llm.get_input_embeddings()))


def user(*parts: str | Image) -> Turn:
    """Return a user's turn of texts and pictures."""
    return Turn("user", tuple(Text(part) if isinstance(part, str) else part for part in parts))


def fill(template: str, prompt: str) -> str:
    """Return a template with the prompt in its place; braces in the prompt mean nothing."""
    return template.replace("{prompt}", prompt)


def _image(item: Any) -> Image:
    if isinstance(item, Image):
        return item
    if isinstance(item, Tensor):
        return Image(latents=item)
    if item is None:
        raise ValueError("image: expected a picture, got None")
    return Image(item)


def _put(parts: list[Image], places: Sequence[int], name: str, latents: Tensor) -> None:
    for index, found in zip(places, latents, strict=True):
        parts[index] = replace(parts[index], **{name: found})


def _check_latents(model: UniMM, part: Image) -> None:
    settings = model.config.settings
    if part.latents is not None:
        expect("latents", part.latents, "N C", N=settings.num_latents, C=settings.dit.channels)
    if part.seen is not None:
        expect("seen latents", part.seen, "N C", N=settings.num_queries, C=settings.encoder.width)
