"""The chat template: turns become token ids, labels, and the places where images stand.

A turn is `<|im_start|>role\\n ... <|im_end|>\\n` (Qwen's ChatML; no system turn unless one is given). A
picture the user shows is `<im_start>` + N slots + `<im_end>\\n`; one in the assistant's turn, drawn before
or to be drawn now, is `<im_start>` + N slots + `<im_end>`. Labels cover what the assistant says, its marks
`<im_start>`, `<im_end>` and `<|im_end|>` included; never a slot, never another speaker. `label_marks` adds
what the published label mask covers besides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from unimm.parts import IGNORED, Batch, Image, Run, Text, Turn
from unimm.text.tokenizer import encode, fixed, special_ids

GENERATE_TEMPLATE = "Generate an image of {prompt}"
CAPTION_REQUEST = "Describe this image."
VERIFIER_QUESTION = "Does this image align with the prompt: {prompt}?"


@dataclass(frozen=True)
class ChatSettings:
    """The sentences a model was trained to answer."""

    generate_template: str = GENERATE_TEMPLATE
    caption_request: str = CAPTION_REQUEST
    verifier_question: str = VERIFIER_QUESTION
    system: str | None = None
    """What opens a conversation that has no system turn of its own; None opens it with nothing. Qwen's, and
    so that of the published Scale-RAE models, is "You are a helpful assistant."."""


@dataclass(frozen=True)
class Slots:
    """Where a picture's slots stand in a row: `length` positions from `start`; `target`: to be drawn."""

    start: int
    length: int
    target: bool


@dataclass
class Rendered:
    """One conversation as tokens.

    Args:
        ids: T token ids.
        labels: T labels, the id itself or -100 (not shifted).
        runs: where the pictures stand, in reading order.
        images: the parts that stand there, in the same order.
    """

    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    runs: list[Slots] = field(default_factory=list)
    images: list[Image] = field(default_factory=list)

    def add(self, ids: Sequence[int], labelled: bool) -> None:
        """Append ids, with or without a loss on them."""
        self.ids.extend(ids)
        self.labels.extend(ids if labelled else [IGNORED] * len(ids))


def render(
    turns: Sequence[Turn],
    tokenizer: PreTrainedTokenizerFast,
    num_slots: int,
    add_generation_prompt: bool = False,
) -> Rendered:
    """Return the conversation as ids, labels and runs.

    Args:
        turns: what was said.
        tokenizer: one with the image marks.
        num_slots: tokens of a picture (N latents seen, Q = N queries drawn).
        add_generation_prompt: end with the opening of an assistant turn.

    Raises:
        ValueError: a picture to be drawn outside an assistant turn.
    """
    marks, row = special_ids(tokenizer), Rendered()
    for turn in turns:
        row.add([marks.turn_start, *fixed(tokenizer, turn.role + "\n")], labelled=False)
        spoken = turn.role == "assistant"
        for part in turn.parts:
            if isinstance(part, Text):
                row.add(encode(tokenizer, part.text), labelled=spoken)
            else:
                _add_image(row, part, tokenizer, num_slots, spoken)
        row.add([marks.turn_end], labelled=spoken)
        row.add(fixed(tokenizer, "\n"), labelled=False)
    if add_generation_prompt:
        row.add([marks.turn_start, *fixed(tokenizer, "assistant\n")], labelled=False)
    return row


def opened(turns: Sequence[Turn], system: str | None) -> Sequence[Turn]:
    """Return the turns with a system turn at their head; they keep their own if they have one."""
    if system is None or (turns and turns[0].role == "system"):
        return turns
    return [Turn("system", (Text(system),)), *turns]


def label_marks(row: Rendered, tokenizer: PreTrainedTokenizerFast) -> Rendered:
    """Return a row with labels on the newlines and turn marks of all speakers, headers included.

    So are Scale-RAE's models trained: its mask leaves these three tokens out wherever they stand.
    """
    marks = special_ids(tokenizer)
    always = {marks.turn_start, marks.turn_end, *fixed(tokenizer, "\n")}
    labels = [id if id in always else label for id, label in zip(row.ids, row.labels, strict=True)]
    return replace(row, labels=labels)


def open_image(row: Rendered, tokenizer: PreTrainedTokenizerFast, num_slots: int) -> Rendered:
    """Return a row that ends in an open assistant turn, continued by `<im_start>` and a picture's slots."""
    marks = special_ids(tokenizer)
    opened = Rendered(list(row.ids), list(row.labels), list(row.runs), list(row.images))
    opened.add([marks.image_start], labelled=False)
    _add_slots(opened, Image(target=True), marks.image_slot, num_slots)
    return opened


def collate(
    rows: Sequence[Rendered],
    pad: int,
    context_latents: Tensor | None = None,
    target_latents: Tensor | None = None,
) -> Batch:
    """Return rows as one right-padded batch; latents [I N C] and [J N C] by row, then in reading order."""
    longest = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), longest), pad, dtype=torch.long)
    labels = torch.full((len(rows), longest), IGNORED, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for index, row in enumerate(rows):
        length = len(row.ids)
        ids[index, :length] = torch.tensor(row.ids, dtype=torch.long)
        labels[index, :length] = torch.tensor(row.labels, dtype=torch.long)
        mask[index, :length] = True
    placed = [
        (slots.target, Run(index, slots.start, slots.length))
        for index, row in enumerate(rows)
        for slots in row.runs
    ]
    return Batch(
        ids,
        labels,
        mask,
        context_runs=tuple(run for target, run in placed if not target),
        context_latents=context_latents,
        query_runs=tuple(run for target, run in placed if target),
        target_latents=target_latents,
    )


def _add_image(
    row: Rendered, part: Image, tokenizer: PreTrainedTokenizerFast, num_slots: int, spoken: bool
) -> None:
    if part.target and not spoken:
        raise ValueError(
            "image: expected a picture to draw in an assistant turn, got one in another speaker's turn"
        )
    marks = special_ids(tokenizer)
    row.add([marks.image_start], labelled=spoken)
    _add_slots(row, part, marks.image_slot, num_slots)
    row.add([marks.image_end], labelled=spoken)
    if not spoken:
        row.add(fixed(tokenizer, "\n"), labelled=False)


def _add_slots(row: Rendered, part: Image, slot: int, num_slots: int) -> None:
    row.runs.append(Slots(len(row.ids), num_slots, part.target))
    row.images.append(part)
    row.add([slot] * num_slots, labelled=False)
