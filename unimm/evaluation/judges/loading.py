"""Models of other people, from a folder or a hub id: safetensors only, no code of theirs, no gap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL.Image import Image

from unimm.loaded import quiet, refuse_gaps

Item = TypeVar("Item")


def load_strictly(
    model_class: Any, source: str | Path, *, unread: Sequence[str] = (), device: str = "cpu", **options: Any
) -> tuple[Any, Path]:
    """Return a transformers model in eval mode and the folder it came from.

    Args:
        model_class: a class of transformers with `from_pretrained`.
        source: a folder, or a hub id (downloaded once).
        unread: patterns of whole names in the folder that the model computes itself.
        device: where it shall stand.
        options: of `from_pretrained`, such as dtype.

    Raises:
        FileNotFoundError: no such folder, or no safetensors in it.
        ValueError: it holds another kind of model, or its tensors do not fit.
    """
    from unimm.model.loading import HUB_ID, find_folder

    if not Path(source).is_dir() and not HUB_ID.fullmatch(str(source)):
        raise FileNotFoundError(
            f"judge: expected a folder, or a hub id owner/name; there is no {str(source)!r}"
        )
    folder = find_folder(source)
    if not any(folder.glob("*.safetensors")):
        raise FileNotFoundError(f"{folder}: expected weights as safetensors, found none; convert them first")
    with quiet():
        try:
            model, found = model_class.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,  # they are listed below
                output_loading_info=True,
                **options,
            )
        except (OSError, KeyError) as error:
            raise ValueError(f"{folder}: not readable as {model_class.__name__} ({error})") from error
    refuse_gaps(folder, found, unread)
    return model.eval().to(device), folder


def expect_kind(folder: Path, got: str, expected: Sequence[str]) -> None:
    """Refuse a folder that holds another kind of model.

    Raises:
        ValueError: its `model_type` is none of those expected.
    """
    if got not in expected:
        raise ValueError(f"{folder}: expected model_type {' or '.join(expected)}, got {got!r}")


def name_of(source: str | Path) -> str:
    """Return the last part of a folder's path or a hub id, in lower case: a judge's name in a score's key."""
    return (
        Path(source).resolve().name.lower()
        if Path(source).is_dir()
        else str(source).rpartition("/")[2].lower()
    )


def batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Yield items, `size` at a time.

    Raises:
        ValueError: size is not positive.
    """
    if size < 1:
        raise ValueError(f"batch_size: expected 1 or more, got {size}")
    for start in range(0, len(items), size):
        yield items[start : start + size]


def expect_pairs(images: Sequence[Image], texts: Sequence[str], what: str) -> None:
    """Refuse unequal numbers of pictures and texts.

    Raises:
        ValueError: they differ.
    """
    if len(images) != len(texts):
        raise ValueError(f"{what}: expected one per picture, got {len(texts)} for {len(images)} pictures")


def unit_rows(features: torch.Tensor) -> torch.Tensor:
    """Return [n d] with rows of length 1."""
    return torch.nn.functional.normalize(features.float(), dim=-1)
