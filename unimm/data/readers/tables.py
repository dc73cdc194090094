"""Rows by the kind of file they are in: JSON, parquet, or a folder of Arrow files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unimm.data.readers.arrow import MARK, Arrows
from unimm.data.readers.jsons import Jsons
from unimm.data.readers.parquet import Parquets
from unimm.data.readers.rows import Files, Rows

JSON_ENDINGS = (".json", ".jsonl", ".ndjson")


def tables(files: Files, cache: Path | None) -> Rows:
    """Open files of rows.

    Args:
        files: all JSON, all parquet, or one folder that `save_to_disk` wrote; or rows, which are returned.
        cache: where indexes are kept.

    Raises:
        ValueError: none of these, or a mixture.
    """
    if not isinstance(files, Sequence):
        return files
    paths = files
    endings = {path.suffix.lower() for path in paths}
    if len(paths) == 1 and (paths[0] / MARK).is_file():
        return Arrows(paths[0])
    if endings == {".parquet"}:
        return Parquets(paths, cache)
    if endings and endings <= set(JSON_ENDINGS):
        return Jsons(paths, cache)
    raise ValueError(
        f"{paths[0] if paths else 'paths'}: expected {', '.join(JSON_ENDINGS)} or .parquet files, or a "
        f"folder with {MARK}, got {', '.join(sorted(ending or 'a folder' for ending in endings)) or 'none'}"
    )
