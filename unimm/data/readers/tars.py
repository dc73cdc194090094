"""Tars read in place: where each member stands is indexed once, and nothing is ever unpacked.

Members of one row share a key, the path up to the first dot of its last part, as WebDataset has it:
`a/0001.jpg` and `a/0001.txt` are the fields "jpg" and "txt" of "a/0001". Names are never used as paths.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath

import numpy as np

from unimm.data.pictures import ImageRef
from unimm.data.readers.index import Arrays, index_of
from unimm.data.samples import BrokenSample

KIND = "tar 1"
BAD = (
    "",
    "leads outside of the tar",
    "is a link",
    "is no plain file",
    "is cut short: the tar ends within it",
)
"""What is wrong with a member, by the number in the index; 0 is nothing."""
OUTSIDE, LINK, SPECIAL, CUT = 1, 2, 3, 4


def member_fault(info: tarfile.TarInfo, file_size: int) -> int:
    """Return what is wrong with a member, a place in BAD."""
    path = PurePosixPath(info.name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or "\0" in info.name or info.name[1:2] == ":":
        return OUTSIDE
    if info.issym() or info.islnk():
        return LINK
    if not info.isfile() or info.issparse():
        return SPECIAL
    return CUT if info.offset_data + info.size > file_size else 0


def split_name(name: str) -> tuple[str, str]:
    """Return key and field of a member: "a/01.seg.png" is "a/01" and "seg.png"."""
    folder, slash, last = name.removeprefix("./").rpartition("/")
    stem, _, field = last.partition(".")
    if not stem:  # a hidden file: its name is its key
        stem, field = last, ""
    return folder + slash + stem, field


def build_index(path: Path, advance: Callable[[int], None]) -> Arrays:
    """Return where the members of a tar stand, sorted by row.

    Returns:
        offset, size int64 [M] and fault uint8 [M] of each member; names uint8 (UTF-8, one after another) with
        name_ends int64 [M]; row_ends int64 [R], the members of row r being row_ends[r - 1] to row_ends[r];
        damage uint8, a sentence in UTF-8, empty where the tar is whole.

    Raises:
        ValueError: not an uncompressed tar.
    """
    file_size, rows, members = path.stat().st_size, {}, []
    try:
        with tarfile.open(path, "r:", encoding="utf-8", errors="surrogateescape") as tar:
            for info in tar:
                tar.members = []  # or it keeps them all
                if info.isdir():
                    continue
                rows.setdefault(split_name(info.name)[0], []).append(len(members))
                members.append((info.offset_data, info.size, member_fault(info, file_size), info.name))
                if len(members) % 256 == 0:
                    advance(info.offset_data)
            damage = _damage(path, tar.offset, file_size)
    except tarfile.TarError as error:
        if not members:
            raise ValueError(
                f"{path}: expected an uncompressed tar ({error}){compression_hint(path)}"
            ) from error
        damage = f"{path}: damaged behind {members[-1][3]!r} ({error}); what follows is lost"
        if members[-1][2] == CUT:
            damage = f"{path}: cut short at {file_size} bytes"
    order = [number for row in rows.values() for number in row]
    return _arrays([members[number] for number in order], [len(row) for row in rows.values()], damage)


def _arrays(members: list[tuple[int, int, int, str]], counts: list[int], damage: str) -> Arrays:
    names = [name.encode("utf-8", "surrogateescape") for *_, name in members]
    return {
        "offset": np.array([member[0] for member in members], dtype=np.int64),
        "size": np.array([member[1] for member in members], dtype=np.int64),
        "fault": np.array([member[2] for member in members], dtype=np.uint8),
        "names": np.frombuffer(b"".join(names), dtype=np.uint8),
        "name_ends": np.cumsum([len(name) for name in names], dtype=np.int64),
        "row_ends": np.cumsum(counts, dtype=np.int64),
        "num_rows": np.array(len(counts), dtype=np.int64),
        "damage": np.frombuffer(damage.encode("utf-8", "replace"), dtype=np.uint8),
    }


def _damage(path: Path, end: int, file_size: int) -> str:
    """Return a sentence if a tar does not end as tars do: Python's reader stops at rubbish without a word."""
    with path.open("rb") as file:
        file.seek(min(end, file_size))
        block = file.read(tarfile.BLOCKSIZE)
    if end > file_size or 0 < len(block) < tarfile.BLOCKSIZE:
        return f"{path}: cut short at {file_size} bytes"
    if block.strip(b"\0"):
        return f"{path}: no member begins at byte {end}, where one should; what follows is lost"
    return ""


def compression_hint(path: Path) -> str:
    """Return a hint if a file is compressed: then no member can be reached without those before it."""
    with path.open("rb") as file:
        start = file.read(6)
    kinds = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
    found = next((name for magic, name in kinds.items() if start.startswith(magic)), None)
    return "" if found is None else f"; it is compressed by {found}, unpack that layer first"


class Tar:
    """One indexed tar."""

    def __init__(self, path: Path, cache: Path | None):
        self.path = Path(path)
        self._arrays = index_of(self.path, KIND, build_index, cache)

    def __len__(self) -> int:
        return int(self._arrays["num_rows"])

    @property
    def damage(self) -> str:
        """What is wrong with the file as a whole; "" if nothing is."""
        return self._arrays["damage"].tobytes().decode("utf-8", "replace")

    def name(self, member: int) -> str:
        """Return a member's name."""
        ends = self._arrays["name_ends"]
        start = int(ends[member - 1]) if member else 0
        return self._arrays["names"][start : int(ends[member])].tobytes().decode("utf-8", "replace")

    def members(self, row: int) -> range:
        """Return which members a row has."""
        ends = self._arrays["row_ends"]
        return range(int(ends[row - 1]) if row else 0, int(ends[row]))

    def key(self, row: int) -> str:
        """Return what to call a row: the tar's name and its own."""
        return f"{self.path.name}/{_printable(split_name(self.name(self.members(row)[0]))[0])}"

    def fields(self, row: int) -> Mapping[str, ImageRef]:
        """Return where the fields of a row stand, by their endings in lower case.

        Raises:
            BrokenSample: a member that is a link, special, cut short, named twice, or leads outside.
        """
        found: dict[str, ImageRef] = {}
        for offset, size, fault, name in self._members(row):
            if fault:
                kind = "damage" if fault == CUT else "path"
                raise BrokenSample(self.key(row), f"member {_printable(name)!r} {BAD[fault]}", kind)
            field = split_name(name)[1].lower()
            if field in found:
                raise BrokenSample(self.key(row), f"two members are named {_printable(name)!r}")
            found[field] = ImageRef(str(self.path), offset, size, _printable(name))
        return found

    def _members(self, row: int) -> Iterator[tuple[int, int, int, str]]:
        """Yield offset, size, fault and name of a row's members; each array is asked for once."""
        members = self.members(row)
        ends = self._arrays["name_ends"][max(0, members.start - 1) : members.stop].tolist()
        ends = ends if members.start else [0, *ends]
        joined = self._arrays["names"][ends[0] : ends[-1]].tobytes()
        names = [
            joined[start - ends[0] : end - ends[0]].decode("utf-8", "replace")
            for start, end in pairwise(ends)
        ]
        facts = (
            self._arrays[name][members.start : members.stop].tolist() for name in ("offset", "size", "fault")
        )
        yield from zip(*facts, names, strict=True)

    def ref(self, member: int) -> ImageRef:
        """Return where a member stands."""
        offset, size = int(self._arrays["offset"][member]), int(self._arrays["size"][member])
        return ImageRef(str(self.path), offset, size, _printable(self.name(member)))

    def by_name(self) -> Mapping[str, int]:
        """Return the members that are sound, by their names."""
        fault = self._arrays["fault"]
        return {
            self.name(number).removeprefix("./"): number for number in range(len(fault)) if not fault[number]
        }


class Tars:
    """Rows of many tars: one shard each."""

    random_access = True
    shards_at_once = None

    def __init__(self, paths: Sequence[Path], cache: Path | None):
        if not paths:
            raise ValueError("tars: expected at least one, got none")
        self._tars = tuple(Tar(path, cache) for path in paths)
        self.shards = tuple(map(len, self._tars))

    def key(self, shard: int, row: int) -> str:
        """Return what to call a row."""
        return self._tars[shard].key(row)

    def row(self, shard: int, row: int) -> Mapping[str, ImageRef]:
        """Return where the fields of a row stand; raises as `Tar.fields`."""
        return self._tars[shard].fields(row)

    @property
    def faults(self) -> tuple[str, ...]:
        """The damage of each tar that has some."""
        return tuple(damage for tar in self._tars if (damage := tar.damage))


def _printable(name: str) -> str:
    return name.encode("utf-8", "replace").decode("utf-8")
