"""Safetensors files that many processes write at once and read in part: nobody needs a whole tensor.

The header says where every number of every tensor stands. One process writes it and makes room; then each
writes the ranges it holds at their places. What results is a plain safetensors file, the same whoever wrote
it: so a checkpoint of eight ranks is read by one, or by three.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from unimm.weights.shards import DTYPES

KINDS = {dtype: kind for kind, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Piece:
    """A range of one tensor."""

    name: str
    start: int  # of the range, counted in numbers of the flattened tensor
    values: Tensor  # the numbers: flat, a view of what is live
    shared: bool = False  # every process holds the same, so the first one writes it

    @property
    def stop(self) -> int:
        return self.start + self.values.numel()


Reader = Callable[[str, int, int], Tensor]
"""`read(name, start, stop)`: a range of a stored tensor, flat."""


def whole(name: str, x: Tensor) -> Piece:
    """Return all of a tensor, of which every process has a copy, as one piece."""
    return Piece(name, 0, x.detach().reshape(-1), shared=True)


def create(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write the header of a file that will hold these tensors, and make room for them, filled with zeros.

    Args:
        path: of the file; an older one is replaced.
        tensors: only their shapes and dtypes count, so they may be on the meta device.

    Raises:
        OSError: it cannot be written.
    """
    header, offset = {}, 0
    for name, x in sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])):
        stop = offset + x.numel() * x.dtype.itemsize  # the widest first: every tensor is aligned
        header[name] = {"dtype": KINDS[x.dtype], "shape": list(x.shape), "data_offsets": [offset, stop]}
        offset = stop
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + offset)


def write_pieces(path: Path, pieces: Iterable[Piece]) -> None:
    """Write ranges into a file that `create` made, and bring them to the disk.

    Raises:
        OSError: the disk is full or the file cannot be written.
    """
    with path.open("r+b") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        for piece in pieces:
            row = header[piece.name]
            x = piece.values.detach().to(DTYPES[row["dtype"]]).cpu().contiguous()
            place = 8 + length + row["data_offsets"][0] + piece.start * x.dtype.itemsize
            _write_at(file.fileno(), memoryview(x.view(torch.uint8).numpy()), place)
        os.fsync(file.fileno())


def _write_at(descriptor: int, data: memoryview, place: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, place)  # at most two gigabytes at a time
        data, place = data[written:], place + written


class PieceFile:
    """A safetensors file whose tensors are read in ranges: from the disk, when they are asked for."""

    def __init__(self, path: Path):
        self.path = path
        self.tensors = load_file(path)  # a memory map

    def read(self, name: str, start: int, stop: int) -> Tensor:
        """Return numbers start ... stop - 1 of a flattened tensor.

        Raises:
            ValueError: the file has no such tensor.
        """
        if name not in self.tensors:
            raise ValueError(
                f"{self.path}: expected a tensor {name!r}, found none; it was saved by other code"
            )
        return self.tensors[name].reshape(-1)[start:stop]

    def __contains__(self, name: str) -> bool:
        return name in self.tensors


@torch.no_grad()
def fill_pieces(pieces: Iterable[Piece], read: Reader) -> None:
    """Copy stored numbers into pieces."""
    for piece in pieces:
        piece.values.copy_(read(piece.name, piece.start, piece.stop))
