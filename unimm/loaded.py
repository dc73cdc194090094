"""What transformers says of a model that it loaded: every gap refused, nothing else shown. Nor what DeepSpeed
says when a model is saved."""

from __future__ import annotations

import logging
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
    from transformers.utils import logging as theirs

    level, bar = theirs.get_verbosity(), theirs.is_progress_bar_enabled()
    theirs.set_verbosity_error()
    theirs.disable_progress_bar()
    try:
        yield
    finally:
        theirs.set_verbosity(level)
        if bar:
            theirs.enable_progress_bar()


@contextmanager
def without_accelerator_warning() -> Iterator[None]:
    """Keep DeepSpeed from warning that it found no accelerator; whatever else it says is shown.

    Where it is installed, transformers imports it to save any model, to see whether it is one of DeepSpeed's
    (accelerate's `extract_model_from_parallel`). To name an accelerator in the environment would silence it
    too, but bind whatever else the process does with DeepSpeed.
    """
    logger = logging.getLogger("DeepSpeed")
    logger.addFilter(_is_another)
    try:
        yield
    finally:
        logger.removeFilter(_is_another)


def _is_another(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Setting accelerator to CPU")
