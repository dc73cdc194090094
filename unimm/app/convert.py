"""`unimm convert`: published folders to ours and back; `--inspect`: what a folder or repository holds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from unimm.model.published.inspecting import Inspection

UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
DTYPES = ("float32", "bfloat16", "float16")


def convert(
    source: Annotated[str, typer.Argument(help="A published folder or hub id, or a folder of ours.")],
    target: Annotated[Path | None, typer.Argument(help="The folder to write.")] = None,
    to: Annotated[
        str | None, typer.Option(help="unimm or scale_rae. Default: the layout that SOURCE does not have.")
    ] = None,
    vision_tower: Annotated[
        str | None, typer.Option(help="Folder or hub id; default: what SOURCE holds or names.")
    ] = None,
    decoder: Annotated[str | None, typer.Option(help="The same for the pixel decoder, or a VAE.")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="The same for the tokenizer.")] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32, bfloat16 or float16. Default: each tensor as it is stored.")
    ] = None,
    max_shard_size: Annotated[
        str | None, typer.Option(help="Of one weights file; default: 5GB.", show_default=False)
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Of SOURCE, where it is on the hub.")] = None,
    inspect: Annotated[
        bool, typer.Option("--inspect", help="Only tell what SOURCE holds; its tensors are not read.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Tell it as JSON.")] = False,
) -> None:
    """Bring a model from the published Scale-RAE layout to ours or back, or tell what a folder holds."""
    hub = {"revision": revision} if revision else {}
    parts = {"vision_tower": vision_tower, "decoder": decoder, "tokenizer": tokenizer}
    if inspect:
        _refuse_target(target)
        _refuse_writing({"--to": to, "--dtype": dtype, "--max-shard-size": max_shard_size})
        report = _inspect(source, hub, parts)
        print(json.dumps(report.to_dict(), indent=2) if as_json else "\n".join(lines(report)))
        raise typer.Exit(1 if report.faults or report.contradictions else 0)
    if target is None:
        raise ValueError("DST: expected a folder to write, got none; with --inspect none is written")
    options = {"dtype": _dtype(dtype), "max_shard_bytes": byte_count(max_shard_size or "5GB")}
    done = _convert(source, target, to, parts, options, hub)
    if as_json:
        print(json.dumps(done, indent=2, default=str))
        return
    print(
        f"{done['folder']}: {done['num_tensors']} tensors, {amount(done['num_bytes'])}, layout {done['kind']}"
    )
    for name in done["kept"]:
        print(f"kept beside the model, which does not use it: {name}")
    if done["left_out"]:
        print(f"no part of the model and left out: {', '.join(done['left_out'])}")


def lines(report: Inspection) -> Iterator[str]:
    """Yield an inspection as text, line by line."""
    said = f", model_type {report.model_type}" if report.model_type else ""
    yield f"{report.place}: {report.kind}{said}"
    for row in report.files:
        size = "MISSING" if row["bytes"] is None else amount(row["bytes"])
        yield f"  {row['name']:<48} {size:>10}" + (f"  {row['tensors']} tensors" if "tensors" in row else "")
    if report.num_tensors:
        kinds = ", ".join(f"{dtype} {count:,}" for dtype, count in sorted(report.dtypes.items()))
        yield f"{report.num_tensors} tensors, {report.num_numbers:,} numbers ({kinds})"
    for name, value in report.sizes.items():
        inside = isinstance(value, dict)
        yield f"  {name}: " + (", ".join(f"{key} {x}" for key, x in value.items()) if inside else f"{value}")
    if report.came_from:
        yield f"came from: {report.came_from}, and can be converted back to it"
    if report.nearest:
        yield f"nearest: {report.nearest}" + ("" if report.differs else ", no difference")
    for title in ("differs", "absent", "needs", "contradictions", "faults"):
        for line in getattr(report, title):
            yield f"{title}: {line}"


def amount(count: int) -> str:
    """Return a number of bytes in words."""
    unit = next((unit for unit in reversed(UNITS) if count >= UNITS[unit]), None)
    return f"{count} B" if unit is None else f"{count / UNITS[unit]:.1f} {unit}"


def byte_count(text: str) -> int:
    """Return how many bytes a size such as 5GB is.

    Raises:
        ValueError: it is no size.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]B)", text.strip(), re.IGNORECASE)
    if not found or float(found[1]) <= 0:
        raise ValueError(f"--max-shard-size: expected a size such as 5GB or 200MB, got {text!r}")
    return int(float(found[1]) * UNITS[found[2].upper()])


def _dtype(name: str | None) -> Any:
    """Return torch's dtype of a name."""
    if name is None:
        return None
    import torch

    from unimm.tables import expect_known

    expect_known("--dtype", name, DTYPES)
    return getattr(torch, name)


def _inspect(source: str, hub: dict[str, Any], parts: dict[str, Any]) -> Inspection:
    from unimm.model.published.inspecting import inspect

    return inspect(source, hub, parts)


def _convert(
    source: str,
    target: Path,
    to: str | None,
    parts: dict[str, Any],
    options: dict[str, Any],
    hub: dict[str, Any],
) -> dict[str, Any]:
    from unimm.model.published.converting import Options, convert

    given = {name: part for name, part in parts.items() if part is not None}
    return vars(convert(source, target, to, Options(**options), given, hub))


def _refuse_target(target: Path | None) -> None:
    if target is not None:
        raise ValueError(f"--inspect: expected no folder to write, got {str(target)!r}")


def _refuse_writing(options: dict[str, Any]) -> None:
    if given := [name for name, value in options.items() if value is not None]:
        raise ValueError(f"--inspect: nothing is written, so {', '.join(given)} cannot act; leave it out")
