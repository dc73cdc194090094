"""A repository on the hub, looked into without downloading it: its list of files, small files, headers."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from unimm.model.loading import HUB_ID, find_folder
from unimm.weights.shards import MAX_HEADER_BYTES, Header, LocalPlace, Place, parse_header

OPTIONS = ("revision", "token")


@dataclass(frozen=True)
class HubPlace:
    """A model repository; of large files only headers are fetched."""

    name: str
    """Its id."""
    hub: Mapping[str, Any] = field(default_factory=dict)
    """`revision` and `token`."""

    def files(self) -> dict[str, int]:
        """Return sizes by name of file."""
        return self._files

    @cached_property
    def _files(self) -> dict[str, int]:
        from huggingface_hub import HfApi

        with _told(self.name):
            info = HfApi().model_info(self.name, files_metadata=True, **self._known())
            return {each.rfilename: each.size or 0 for each in info.siblings}

    def read(self, name: str) -> bytes:
        """Return a small file, which is kept where the hub keeps its files."""
        from huggingface_hub import hf_hub_download

        with _told(self.name):
            return Path(hf_hub_download(self.name, name, **self._known())).read_bytes()

    def header(self, name: str) -> Header:
        """Return the header of a safetensors file; two small pieces of it are read."""
        from huggingface_hub import HfFileSystem

        token, revision = self.hub.get("token"), self.hub.get("revision")
        with (
            _told(self.name),
            HfFileSystem(token=token).open(
                f"{self.name}/{name}", "rb", revision=revision, block_size=2**20
            ) as file,
        ):
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if length <= MAX_HEADER_BYTES:
                start += file.read(length)
        return parse_header(start, f"{self.name}/{name}")

    def _known(self) -> dict[str, Any]:
        return {name: value for name, value in self.hub.items() if name in OPTIONS}


def place_of(name: str, hub: Mapping[str, Any] | None = None) -> Place:
    """Return the place of a folder's path, of a built-in model, or of a hub id.

    Raises:
        FileNotFoundError: a path without a folder.
        ValueError: a name that is none of the three.
    """
    if Path(name).is_dir() or not HUB_ID.fullmatch(name) or name.startswith("."):
        return LocalPlace(find_folder(name))
    return HubPlace(name, dict(hub or {}))


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Turn what goes wrong on the way to the hub into one line."""
    try:
        yield
    except Exception as error:  # what carries the bytes raises errors of its own kinds
        reason = " ".join(str(error).split())[:300]
        raise FileNotFoundError(
            f"{name}: there is no such folder, and the hub has no such model or cannot be reached ({reason})"
        ) from None
