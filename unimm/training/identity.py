"""What must stay as it was when a run goes on: its seed, its data and the shape of its model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

SECTIONS = (
    "data", "pictures", "pairs", "prompts", "tokenizer",
    "model", "generator", "learner", "encoder", "decoder", "text", "painter",
)  # fmt: skip
"""Of a stage's recipe. What else it holds, such as weights of losses, may change between two parts of a run;
every part's settings are kept beside it."""
FREE = ("learner.drawing", "learner.gradient_checkpointing")
"""Of these sections, what says how a model is trained and may change as well."""


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run is made of, by dotted name.

    Args:
        config: a stage's recipe as plain values, or a `TrainRecipe` alone.
    """
    train = config.get("train", config)
    found = {"seed": train.get("seed")}
    for section in SECTIONS:
        if section in config:
            found.update(_flat(section, config[section]))
    return found


def expect_same(checkpoint: Path, saved: Mapping[str, Any] | None, here: Mapping[str, Any]) -> None:
    """Refuse to go on with a run that was made of something else.

    Raises:
        ValueError: values that differ, each with its name and both values.
    """
    if saved is None:  # of a time when this was not written down
        return
    names = sorted(saved.keys() | here.keys())
    different = [name for name in names if saved.get(name, "nothing") != here.get(name, "nothing")]
    if different:
        told = (f"{n}: was {saved.get(n, 'nothing')!r}, is {here.get(n, 'nothing')!r}" for n in different[:8])
        raise ValueError(
            f"{checkpoint}: the run was made of something else; {'; '.join(told)}"
            f"{'; ...' if len(different) > 8 else ''}; set it back, choose another output, "
            "or go on all the same with resume=changed"
        )


def _flat(name: str, value: Any) -> dict[str, Any]:
    if name in FREE:
        return {}
    if not isinstance(value, Mapping):
        return {name: value}
    return {key: x for part, inside in value.items() for key, x in _flat(f"{name}.{part}", inside).items()}
