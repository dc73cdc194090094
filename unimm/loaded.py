"""What transformers says of a model that it loaded: every gap refused, nothing else shown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def refuse_gaps(folder: Path, found: Mapping[str, Any], unread: Sequence[str] = ()) -> None:
    """Refuse a model whose tensors are not those of its folder.

    Args:
        folder: it was loaded from.
        found: what `from_pretrained(output_loading_info=True)` returned beside it.
        unread: patterns of whole names that the folder may hold and the model does not.

    Raises:
        ValueError: missing, unexpected or misshapen tensors, all of them listed.
    """
    surplus = [name for name in found["unexpected_keys"] if not any(re.fullmatch(p, name) for p in unread)]
    faults = {"missing": found["missing_keys"], "unexpected": surplus, "misshapen": found["mismatched_keys"]}
    listed = [f"{fault}: {', '.join(sorted(map(str, names)))}" for fault, names in faults.items() if names]
    if listed:
        raise ValueError(f"{folder}: the tensors do not fit; " + "; ".join(listed))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from drawing bars and from reporting what `refuse_gaps` checks."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
