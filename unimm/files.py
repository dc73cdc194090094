"""Tensors in files of strangers: safetensors, or torch's pickles; no code is run and no size believed."""

from __future__ import annotations

import hashlib
import pickle
import re
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

MAX_BYTES = 32 * 2**30
"""Above every published file that is read here; the largest is Stable Diffusion 3.5's, 16 GB."""

ZIP, PICKLE = b"PK\x03\x04", b"\x80"
"""How torch's files begin: since version 1.6, and before."""


def read_tensors(path: str | Path, max_bytes: int = MAX_BYTES) -> Mapping[str, Any]:
    """Return what a file holds, on the CPU, as it is stored: names of tensors, or nested mappings of them.

    What a file is, its first bytes tell. A torch file is a pickle: only tensors and plain values in it are
    read (`weights_only`). Tensors are read from the disk when they are used (memory map), those of older
    torch files excepted: as long as they are held, the file must not be written over.

    Args:
        path: a safetensors file, or one that `torch.save` wrote.
        max_bytes: of the file, of what its zip says that it unpacks to, and of its tensors.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a folder; an empty file or one cut short; something larger than max_bytes; a pickle that
            asks for other classes, which it names; or neither kind of file.
    """
    path = Path(path)
    _check_size(path, max_bytes)
    content = _reader(path)(path, max_bytes)
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: expected names of tensors, got {type(content).__name__}")
    return content


def expect_sha256(path: str | Path, begins: str) -> None:
    """Refuse a file whose content is not the published one.

    Args:
        path: of the file.
        begins: the first hexadecimal digits of its sha256, such as torch's files carry in their names.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another content.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"weights: no file at {path}")
    with Path(path).open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if not got.startswith(begins):
        raise ValueError(f"{path}: expected a file whose sha256 begins with {begins}, got {got}")


def _check_size(path: Path, max_bytes: int) -> None:
    if path.is_dir():
        raise ValueError(f"{path}: expected a file of tensors, found a folder; name a file in it")
    if not path.is_file():
        raise FileNotFoundError(f"weights: no file at {path}")
    size = path.stat().st_size
    if not size:
        raise ValueError(f"{path}: expected a file of tensors, found an empty one; fetch it again")
    _refuse_more(path, "the file has", size, max_bytes)


def _refuse_more(path: Path, what: str, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise ValueError(
            f"{path}: expected at most {max_bytes} bytes, {what} {size}; "
            f"if you trust it, read it with max_bytes={size}"
        )


def _reader(path: Path) -> Callable[[Path, int], Any]:
    """Return what reads a file, by its first bytes."""
    with path.open("rb") as file:
        start = file.read(48)
    if start[8:9] == b"{" or path.suffix == ".safetensors":
        return _read_safetensors
    if start.startswith(ZIP):
        return _read_zip
    if start.startswith(PICKLE):
        return _read_pickle
    hint = ""
    if start.startswith(b"version https://git-lfs"):
        hint = "; it stands for a file in Git LFS, fetch that"
    elif start.lstrip()[:1] == b"<":
        hint = "; it is a web page, the download failed"
    raise ValueError(f"{path}: expected safetensors or a file of torch, it begins with {start[:16]!r}{hint}")


def _read_safetensors(path: Path, max_bytes: int) -> dict[str, Tensor]:
    """Return the tensors of a file whose header must account for every byte of it."""
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: not readable as safetensors, cut short? ({error})") from error


def _read_zip(path: Path, max_bytes: int) -> Any:
    """Return the content of a file of torch since 1.6, whose directory is checked before it is unpacked."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise ValueError(f"{path}: not readable as a file of torch, cut short? ({error})") from error
    _refuse_more(path, "it unpacks to", sum(entry.file_size for entry in entries), max_bytes)
    packed = sorted(entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED)
    if packed:
        raise ValueError(
            f"{path}: expected a file as torch writes it, got compressed {', '.join(packed[:3])}"
        )
    return _checked(path, _unpickled(path, mapped=True), max_bytes)


def _read_pickle(path: Path, max_bytes: int) -> Any:
    """Return the content of a file of torch before 1.6."""
    return _checked(path, _unpickled(path, mapped=False), max_bytes)


def _unpickled(path: Path, mapped: bool) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # a stranger's bytes can make a parser raise anything
        if classes := _classes_asked_for(path, error):
            raise ValueError(
                f"{path}: the pickle asks for {', '.join(classes)}, and code in it is not run; let the "
                "project that wrote it save its tensors alone, or take a safetensors file of the same weights"
            ) from None
        raise ValueError(
            f"{path}: expected a pickle of nothing but tensors and plain values, cut short? Code in it is "
            f"not run; of an archive of code save the state dict alone ({str(error).partition(chr(10))[0]})"
        ) from None


def _classes_asked_for(path: Path, error: Exception) -> list[str]:
    """Return the classes that kept a pickle from being read; none where it failed for another reason."""
    if not isinstance(error, pickle.UnpicklingError):
        return []
    first = re.findall(r"GLOBAL (\S+) was not an allowed", str(error))
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path)) or first
    except Exception:  # not a zip, or not to its end: the message names the first alone
        return first


def _checked(path: Path, content: Any, max_bytes: int) -> Any:
    """Return the content of a pickle if its tensors are plain and no larger than the bytes behind them."""
    total = 0
    for x in _tensors_in(content):
        if type(x) not in (Tensor, nn.Parameter) or x.layout != torch.strided or x.device.type != "cpu":
            raise ValueError(
                f"{path}: expected plain tensors, got {type(x).__name__} {x.layout} on {x.device}"
            )
        if x.nbytes > x.untyped_storage().nbytes():
            raise ValueError(
                f"{path}: expected tensors stored in full, got one of shape {list(x.shape)} and "
                f"{x.nbytes} bytes of which {x.untyped_storage().nbytes()} are in the file"
            )
        total += x.nbytes
    _refuse_more(path, "the tensors have", total, max_bytes)
    return content


def _tensors_in(content: Any) -> Iterator[Tensor]:
    """Yield every tensor once, however deep or circular the nest is."""
    waiting, seen = [content], set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, Mapping):
            waiting.extend(value.values())
        elif isinstance(value, list | tuple | set):
            waiting.extend(value)
