"""What part of a call a model spends in which stage: the clock is read where one room follows another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, Self

from torch import nn

from unimm.model import UniMM

STAGES = ("prefill", "draw", "judge", "decode", "encode")
"""Prompts are read; latents drawn; candidates read by the LLM; pictures made; pictures seen again."""


class Stopwatch:
    """Within it, `seconds` counts the time in each of STAGES, from when it was entered to when it is left.

    A stage lasts until a room of another is entered, so solver, tokenizer and pictures' bytes are counted
    with the room before them. Asking for queries begins a prefill; the LLM without them is judging.
    """

    def __init__(self, model: UniMM, clock: Callable[[], float], settle: Callable[[], None]) -> None:
        """Build it for a model whose latents are a RAE's.

        Args:
            model: what is watched.
            clock: seconds.
            settle: waits until what was asked of the device is done; called before the clock is read.
        """
        self.seconds: dict[str, float] = defaultdict(float)
        self._clock, self._settle = clock, settle
        self._stage, self._since = STAGES[0], 0.0
        self._rooms = {
            model.queries: "prefill",
            model.dit: "draw",
            model.projector: "judge",
            model.decoder: "decode",
            model.encoder.embeddings: "encode",
        }
        self._llm = model.llm.model

    def __enter__(self) -> Self:
        self._hooks = [
            room.register_forward_pre_hook(lambda *_, stage=stage: self._turn(stage))
            for room, stage in self._rooms.items()
        ]
        self._hooks.append(self._llm.register_forward_pre_hook(self._read))
        self._settle()
        self._since = self._clock()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._note()
        for hook in self._hooks:
            hook.remove()

    @property
    def total(self) -> float:
        """Seconds in all stages."""
        return sum(self.seconds.values())

    def _read(self, room: nn.Module, inputs: Any) -> None:
        if self._stage != "prefill":
            self._turn("judge")

    def _turn(self, stage: str) -> None:
        if stage != self._stage:
            self._note()
            self._stage = stage

    def _note(self) -> None:
        self._settle()
        now = self._clock()
        self.seconds[self._stage] += now - self._since
        self._since = now
