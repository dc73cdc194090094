"""What a folder of safetensors holds, by headers alone: names, sizes, kinds; and what is missing of it.

A header is 8 bytes of length and a JSON object at the head of a file; no tensor is read for any of this. As
a header's tensor stands one without storage (on the meta device), so whatever reads sizes of tensors reads
them of headers.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from unimm.files import MAX_BYTES, read_tensors
from unimm.weights.folder import STEM

MAX_HEADER_BYTES = 100 * 10**6
"""The limit that safetensors itself sets."""

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool,
}  # fmt: skip


MISSING, DAMAGED = "missing files", "damaged"
"""Faults after which some tensors of a model are not known."""


@dataclass(frozen=True)
class Header:
    """What one safetensors file says of itself."""

    tensors: dict[str, Tensor]
    """By name, without storage."""
    size: int
    """Bytes that a whole file of this header has."""


def parse_header(start: bytes, name: str) -> Header:
    """Return the header in the first bytes of a file; `name` is what errors call it.

    Raises:
        ValueError: not a header of safetensors, or more than the bytes at hand hold.
    """
    if len(start) < 8:
        raise ValueError(f"{name}: expected safetensors, found {len(start)} bytes; fetch it again")
    (length,) = struct.unpack("<Q", start[:8])
    if not 2 <= length <= MAX_HEADER_BYTES:
        hint = "; it stands for a file in Git LFS, fetch that" if start.startswith(b"version ") else ""
        raise ValueError(f"{name}: expected safetensors, it begins with {start[:8]!r}{hint}")
    if len(start) < 8 + length:
        raise ValueError(f"{name}: cut short inside its header of {length} bytes; fetch it again")
    try:
        values = json.loads(start[8 : 8 + length])
        rows = {key: row for key, row in values.items() if key != "__metadata__"}
        tensors = {key: _without_storage(row) for key, row in rows.items()}
        end = max((int(row["data_offsets"][1]) for row in rows.values()), default=0)
    except (ValueError, LookupError, TypeError, AttributeError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{name}: not readable as safetensors, its header is damaged ({error})") from None
    return Header(tensors, 8 + length + end)


def read_header(path: Path) -> Header:
    """Return a file's header; the rest of the file may be missing.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a header of safetensors.
    """
    if not path.is_file():
        raise FileNotFoundError(f"weights: no {path.name} in {path.parent}")
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if length <= MAX_HEADER_BYTES:
            start += file.read(length)
    return parse_header(start, str(path))


@dataclass
class Shards:
    """The safetensors of one model: what their headers hold and what the index says they should."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    """By name, without storage."""
    files: dict[str, list[str]] = field(default_factory=dict)
    """Names of the tensors in every file that is there."""
    index: str | None = None
    """Name of the index file; None for a single file."""
    promised: dict[str, str] = field(default_factory=dict)
    """Names of files by names of tensors, as the index has it."""
    unread: set[str] = field(default_factory=set)
    """Names of files that are there and whose header cannot be read."""
    faults: dict[str, list[str]] = field(default_factory=dict)
    """What is wrong, by kind: missing files, files cut short, and how files and index disagree."""

    def fault(self, kind: str, what: str) -> None:
        """Note a fault."""
        self.faults.setdefault(kind, []).append(what)

    @property
    def described(self) -> list[str]:
        """The faults in words, one by one."""
        return [f"{kind}: {', '.join(sorted(what))}" for kind, what in self.faults.items()]


class Place(Protocol):
    """Somewhere files are: a folder, or a repository on the hub."""

    name: str
    """What errors call it."""

    def files(self) -> Mapping[str, int]:
        """Return sizes in bytes by name of file."""

    def read(self, name: str) -> bytes:
        """Return a small file."""

    def header(self, name: str) -> Header:
        """Return the header of a safetensors file."""


@dataclass(frozen=True)
class LocalPlace:
    """A folder on this machine."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    def files(self) -> dict[str, int]:
        """Return sizes by name of file, those in the folders inside it with their path."""
        files = (path for depth in ("*", "*/*") for path in sorted(self.path.glob(depth)) if path.is_file())
        return {path.relative_to(self.path).as_posix(): path.stat().st_size for path in files}

    def read(self, name: str) -> bytes:
        """Return a file's bytes."""
        return (self.path / name).read_bytes()

    def header(self, name: str) -> Header:
        """Return the header of a safetensors file."""
        return read_header(self.path / name)


def shards_in(place: Path | Place, stem: str = STEM) -> Shards:
    """Return what the safetensors of a place hold, and every fault of them; nothing is raised for those.

    Raises:
        FileNotFoundError: neither an index nor a single file.
        ValueError: an index that is none.
    """
    place = LocalPlace(place) if isinstance(place, Path) else place
    single, index, files = f"{stem}.safetensors", f"{stem}.safetensors.index.json", place.files()
    found = Shards()
    if index not in files:
        if single not in files:
            others = _others(files, stem)
            raise FileNotFoundError(
                f"model: expected weights ({single} or {index}) in {place.name}, found none{others}"
            )
        _add_file(found, place, single, files)
        return found
    found.index, found.promised = index, read_index(place, index)
    for name in sorted(set(found.promised.values())):
        if name in files:
            _add_file(found, place, name, files)
        else:
            found.fault(MISSING, name)
    _compare_with_index(found)
    return found


def read_index(place: Place, index: str) -> dict[str, str]:
    """Return names of files by names of tensors.

    Raises:
        ValueError: not an index, or one that names files elsewhere.
    """
    name = f"{place.name}/{index}"
    try:
        values = json.loads(place.read(index))
    except ValueError as error:  # bad JSON and bad UTF-8
        raise ValueError(f"{name}: expected a JSON index, could not read it ({error})") from None
    found = values.get("weight_map") if isinstance(values, Mapping) else None
    if not isinstance(found, Mapping) or not all(isinstance(file, str) for file in found.values()):
        raise ValueError(f"{name}: expected a JSON index with a weight_map of tensor names to file names")
    strange = sorted({file for file in found.values() if Path(file).name != file})
    if strange:
        raise ValueError(f"{name}: expected names of files beside it, got {', '.join(strange)}")
    return dict(found)


def _compare_with_index(found: Shards) -> None:
    """Note where the files that are there hold other tensors than the index says."""
    place = {tensor: file for file, tensors in found.files.items() for tensor in tensors}
    for tensor, file in found.promised.items():
        if file in found.files and file not in found.unread and place.get(tensor) != file:
            where = f"is in {place[tensor]}" if tensor in place else "is in no file"
            found.fault("disagreeing with the index", f"{tensor} (said to be in {file}, {where})")
    for tensor in found.tensors.keys() - found.promised.keys():
        found.fault("not in the index", f"{tensor} (in {place[tensor]})")


def stored_tensors(folder: Path, stem: str = STEM, max_bytes: int = MAX_BYTES) -> dict[str, Tensor]:
    """Return every tensor of a folder's safetensors as it is stored, read from the disk when it is used.

    Args:
        folder: with a single file, or shards and their index.
        stem: first word of the files' names.
        max_bytes: of each file.

    Raises:
        FileNotFoundError: no weights, or some of the files are missing; all of these are listed.
        ValueError: files cut short, damaged, too large, or that disagree with their index; all listed.
    """
    found = shards_in(folder, stem)
    refuse_faults(found, folder)
    return merged(read_tensors(folder / name, max_bytes) for name in found.files)


def refuse_faults(found: Shards, folder: Path) -> None:
    """Raise what is wrong with the files of a folder; do nothing where nothing is.

    Raises:
        FileNotFoundError: files that are missing, all of them listed.
        ValueError: files that are damaged or cut short, or that disagree with their index, all listed.
    """
    if missing := found.faults.get(MISSING):
        raise FileNotFoundError(
            f"model: expected weights at {folder}, as {found.index} says, found none of "
            f"{', '.join(missing)}; is the download complete?"
        )
    if found.faults:
        raise ValueError(f"{folder}: damaged weights, fetch them again; {'; '.join(found.described)}")


def merged(parts: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return mappings of different names as one."""
    return {name: x for part in parts for name, x in part.items()}


def _add_file(found: Shards, place: Place, name: str, files: Mapping[str, int]) -> None:
    found.files[name] = []
    try:
        header = place.header(name)
    except ValueError as error:
        found.unread.add(name)
        found.fault(DAMAGED, str(error))
        return
    if files[name] < header.size:
        found.fault("cut short", f"{name} ({files[name]} of {header.size} bytes)")
    if files[name] > header.size:
        found.fault("longer than their header says", f"{name} ({files[name]} of {header.size} bytes)")
    found.files[name] = list(header.tensors)
    for tensor, x in header.tensors.items():
        if tensor in found.tensors:
            found.fault("stored twice", f"{tensor} (again in {name})")
        found.tensors[tensor] = x


def _without_storage(row: Mapping[str, Any]) -> Tensor:
    kind = row["dtype"]
    if kind not in DTYPES:
        raise ValueError(f"dtype {kind!r}")
    return torch.empty([int(n) for n in row["shape"]], dtype=DTYPES[kind], device="meta")


def _others(files: Mapping[str, int], stem: str) -> str:
    """Return in words what is there in the place of weights: shards without their index, or pickles."""
    shards = sorted(name for name in files if re.fullmatch(rf"{stem}-\d+-of-\d+\.safetensors", name))
    if shards:
        return f" (there is {', '.join(shards)} without the index; is the download complete?)"
    names = sorted(name for name in files if re.fullmatch(r"pytorch_model.*\.bin(\.index\.json)?", name))
    hint = "; a whole model is read from safetensors only, let its own code write those"
    return f" (there is {', '.join(names)}{hint})" if names else ""
