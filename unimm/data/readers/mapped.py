"""Arrays of npz files, read in place: a number costs the page that it is on, not the whole array."""

from __future__ import annotations

import io
import math
import mmap
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

HELD = 256  # files mapped at a time: each takes a descriptor, and a process often has 1024


class Facts(NamedTuple):
    """Which file it is: one that takes its place is another."""

    inode: int
    size: int
    changed: int  # nanoseconds


class Mapped(Mapping):
    """The arrays of an npz that `numpy.savez` wrote, read only.

    Where they stand is remembered, so a file that is mapped again costs no more than its opening. An array is
    checked against its checksum when it is first asked for.
    """

    def __init__(self, path: Path):
        """Read what is in a file.

        Raises:
            OSError: it cannot be opened.
            zipfile.BadZipFile: it is no npz, or a damaged one.
        """
        self._path = str(path)
        with path.open("rb") as file, zipfile.ZipFile(file) as held:
            self._facts = _facts(os.fstat(file.fileno()))
            self._members = {
                info.filename.removesuffix(".npy"): (
                    info.header_offset,
                    info.file_size,
                    info.CRC,
                    info.compress_type,
                )
                for info in held.infolist()
            }
        self._places: dict[str, tuple[np.dtype, tuple[int, ...], int]] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        """Return an array.

        Raises:
            KeyError: none of this name.
            OSError: the file is gone, or another has taken its place.
            zipfile.BadZipFile: it is damaged.
        """
        memory, arrays = _opened(self._path, self._facts)
        if name not in arrays:
            if name not in self._places:
                self._places[name] = _place(memory, *self._members[name])
            dtype, shape, offset = self._places[name]
            arrays[name] = np.frombuffer(memory, dtype, math.prod(shape), offset).reshape(shape)
        return arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


def _facts(found: os.stat_result) -> Facts:
    return Facts(found.st_ino, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=HELD)
def _opened(path: str, facts: Facts) -> tuple[mmap.mmap, dict[str, np.ndarray]]:
    """Return a file in memory, and a place for the arrays that were asked for; arrays keep it mapped."""
    with open(path, "rb") as file:
        if _facts(os.fstat(file.fileno())) != facts:
            raise OSError(f"{path}: expected the file that was opened before, another has its place")
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), {}


def _place(memory: mmap.mmap, header: int, size: int, crc: int, compression: int):
    """Return type, shape and offset of an array, whose bytes are compared with their checksum.

    A member of a zip is 30 bytes, the lengths of its name and of more fields being the last four, then these
    two, then the content (https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, 4.3.7).
    """
    if compression != zipfile.ZIP_STORED or header + 30 > len(memory):
        raise zipfile.BadZipFile("expected a member that is stored as it is")
    begin = header + 30 + sum(struct.unpack_from("<HH", memory, header + 26))
    content = memoryview(memory)[begin : begin + size]
    if len(content) != size or zlib.crc32(content) != crc:
        raise zipfile.BadZipFile("expected an array as it was written, its checksum is another")
    file = io.BytesIO(content[:4096])
    try:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("expected an npy of version 1.0")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    except ValueError as error:
        raise zipfile.BadZipFile(str(error)) from error
    if len(shape) > 1 or dtype.hasobject or math.prod(shape) * dtype.itemsize > size - file.tell():
        raise zipfile.BadZipFile(f"expected plain numbers in a row, got {shape} of {dtype}")
    return dtype, shape, begin + file.tell()
