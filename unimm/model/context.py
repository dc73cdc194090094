"""What the LLM remembers of one conversation between its turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unimm.llm.decoding import Memory
from unimm.model.inputs import batch_of, seen_latents, with_latents
from unimm.model.placing import device_of
from unimm.model.seeing import reading
from unimm.parts import Image
from unimm.text.chat import Rendered, Slots

if TYPE_CHECKING:
    from unimm.model.unimm import UniMM


class Context:
    """What the LLM has read of one conversation, kept so that only what is new has to be read again."""

    def __init__(self, model: UniMM) -> None:
        self._model = model
        self._memory = Memory(model.llm)
        self._row = Rendered()

    def __len__(self) -> int:
        return len(self._memory)

    def read(self, row: Rendered) -> Tensor:
        """Bring the memory to hold exactly `row`; return the state [D] of its last position."""
        known = min(self._common(row), len(row.ids) - 1)  # the last one is read again: its state is wanted
        if self._model.profile.rounds_embeddings:
            known = 0  # what is rounded depends on all of the row; nor does the published code remember
        self._memory.cut(known)
        self._row = row
        batch = batch_of(self._model, [row])
        embeds = self._model.embed(batch)
        with reading(self._model, batch):
            return self._memory.extend(embeds[:, known:])[0, -1]

    def append(self, token: int) -> Tensor:
        """Read one more token; return its state [D]."""
        self._row.add([token], labelled=False)
        ids = torch.tensor([[token]], device=device_of(self._model.llm))
        return self._memory.extend(self._model.llm.get_input_embeddings()(ids))[0, -1]

    def ask_queries(self) -> Tensor:
        """Return the query states [1 Q D] at this point; the queries are forgotten again."""
        before = len(self._memory)
        states = self._memory.extend(self._model.queries(1))
        self._memory.cut(before)
        return states

    def append_image(self, latents: Tensor, slot: int) -> Image:
        """Read a picture, as it was drawn (latents [N C]), into its slots; return it as it is seen."""
        part = with_latents(self._model, [Image(latents=latents)])[0]
        seen = seen_latents(self._model, [part])
        count = seen.shape[1]
        self._row.runs.append(Slots(len(self._row.ids), count, False))
        self._row.images.append(part)
        self._row.add([slot] * count, labelled=False)
        self._memory.extend(self._model.projector(seen))
        return part

    def _common(self, row: Rendered) -> int:
        """Return how many first positions of `row` are what the memory holds."""
        same = 0
        for old, new in zip(self._row.ids[: len(self)], row.ids, strict=False):
            if old != new:
                break
            same += 1
        for old_run, old, new_run, new in zip(
            self._row.runs, self._row.images, row.runs, row.images, strict=False
        ):
            if old_run.start >= same:
                break
            if old_run != new_run or not _alike(old, new):
                return old_run.start
        return same


def _alike(one: Image, other: Image) -> bool:
    """Return whether two parts are one picture: by what was drawn, or else by what is seen."""
    pairs = [(one.latents, other.latents), (one.seen, other.seen)]
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    return bool(known) and torch.equal(*(latents.cpu().float() for latents in known[0]))
