"""What callers ask for, checked once: counts, prompts, seeds, forms of output; and work cut into passes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

PASS = 64  # rows or pictures that go through a room together; bounds memory, changes no result
OUTPUT_TYPES = ("pil", "pt", "np", "latent")


def positive(name: str, value: int) -> int:
    """Return a count that is a whole number of at least 1, or say what was given instead."""
    if not _is_whole(value) or value < 1:
        raise ValueError(f"{name}: expected a whole number of at least 1, got {value!r}")
    return int(value)


def passes(count: int, size: int | None = None) -> Iterator[slice]:
    """Yield slices that cut `count` things into passes, of the usual size if none is given."""
    size = size or PASS
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def prompt_list(prompt: str | Sequence[str], name: str = "prompt") -> list[str]:
    """Return prompts as a list; each must say something."""
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(prompts, Sequence) or not prompts:
        raise ValueError(f"{name}: expected text or a list of texts, got {prompt!r}")
    for index, text in enumerate(prompts):
        if not isinstance(text, str):
            raise ValueError(f"{name}[{index}]: expected text, got {type(text).__name__}")
        if not text.strip():
            raise ValueError(f"{name}: expected some words, got an empty text")
    return list(prompts)


def check_size(size: tuple[int, int]) -> None:
    """Refuse what is no rows and columns."""
    pair = size if isinstance(size, Sequence) and len(size) == 2 else ()
    if not pair or not all(_is_whole(n) and n >= 1 for n in pair):
        raise ValueError(f"size: expected (rows, columns), whole numbers of at least 1, got {size!r}")


def check_output_type(output_type: str) -> None:
    """Refuse a form of pictures that nobody makes."""
    if output_type not in OUTPUT_TYPES:
        raise ValueError(f"output_type: expected 'pil', 'pt', 'np' or 'latent', got {output_type!r}")


def seed_rows(
    seed: int | Sequence[int] | None, count: int, n: int, each_of: str = "prompts"
) -> list[list[int]]:
    """Return n seeds for each of `count` requests: consecutive from `seed` on, or from each one's own first.

    Raises:
        ValueError: another number of seeds than requests, or one that is no seed, the last ones included.
    """
    seed = seed.tolist() if hasattr(seed, "tolist") else seed  # of arrays and tensors
    if isinstance(seed, Sequence) and not isinstance(seed, str):
        if len(seed) != count:
            raise ValueError(
                f"seed: expected one number, or one for each of {count} {each_of}, got {len(seed)}"
            )
        firsts = [first_seed(each) for each in seed]
    else:
        first = first_seed(seed)
        firsts = [first + index * n for index in range(count)]
    return [[first_seed(first + index) for index in range(n)] for first in firsts]


def first_seed(seed: int | None) -> int:
    """Return a seed as it was given, or one by chance, which torch's own seed decides.

    Raises:
        ValueError: no whole number of 0 or more, or one of more than 64 bits, of which torch knows none.
    """
    if seed is None:
        return int(torch.randint(2**31 - 1, ()).item())
    if not _is_whole(seed) or seed < 0:
        raise ValueError(f"seed: expected a whole number of 0 or more, got {seed!r}")
    if seed >= 2**64:
        raise ValueError(f"seed: expected a number below 2**64, got {seed}")
    return int(seed)


def noise_of(seeds: Sequence[int], *shape: int) -> Tensor:
    """Return noise [M ...], float32: a function of each seed alone, the same on every device."""
    return torch.stack([torch.randn(*shape, generator=generator_of(seed)) for seed in seeds])


def generator_of(seed: int) -> torch.Generator:
    """Return a seed's generator on the CPU.

    torch's takes the lowest 32 bits of a seed and no others, so larger ones are hashed into these.
    """
    if seed >= 2**32:
        digest = hashlib.sha256(seed.to_bytes(8, "little")).digest()
        seed = int.from_bytes(digest[:4], "little")
    return torch.Generator().manual_seed(seed)


def _is_whole(value: Any) -> bool:
    """Whether something is a whole number, NumPy's included; truth values are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)
