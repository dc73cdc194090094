"""Position tables resampled to another grid: by transformers' own function, once and not in every call."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class KeptPositions:
    """Stands in for `interpolate_pos_encoding` of an embeddings module and remembers its results.

    A result is made anew when the table was moved, cast, loaded or written to, and in every call while
    gradients are to reach the table. Only a write through `.data` goes unseen; call `forget` after one.
    """

    def __init__(self, embeddings: nn.Module, table: str):
        self.embeddings = embeddings
        self.table = table
        """Dotted name of the native table in `embeddings`."""
        self.kept: dict[tuple, tuple[object, Tensor]] = {}

    def __call__(self, embeddings: Tensor, height: int, width: int) -> Tensor:
        table = self.embeddings.get_parameter(self.table)
        compiling = torch.compiler.is_compiling()
        if table.requires_grad and (compiling or torch.is_grad_enabled()):
            return self._resampled(embeddings, height, width)
        place = (height, width, table.device, table.dtype)
        stamp = None if compiling else _stamp(table)  # a graph cannot ask; a frozen table is loaded before it
        if place not in self.kept or not (compiling or self.kept[place][0] == stamp):
            with torch.no_grad():
                self.kept[place] = (stamp, self._resampled(embeddings, height, width))
        return self.kept[place][1]

    def forget(self) -> None:
        """Drop what was made."""
        self.kept.clear()

    def _resampled(self, embeddings: Tensor, height: int, width: int) -> Tensor:
        return type(self.embeddings).interpolate_pos_encoding(self.embeddings, embeddings, height, width)


def keep_positions(embeddings: nn.Module, table: str) -> None:
    """Let the embeddings module of a transformers tower remember its resampled position tables."""
    embeddings.interpolate_pos_encoding = KeptPositions(embeddings, table)
    embeddings.register_load_state_dict_post_hook(_forget)


def forget_positions(embeddings: nn.Module) -> None:
    """Drop the tables that `keep_positions` lets a module remember; do nothing where it does not."""
    if isinstance(embeddings.interpolate_pos_encoding, KeptPositions):
        embeddings.interpolate_pos_encoding.forget()


def resample_anew(module: nn.Module) -> None:
    """Let a module that `keep_positions` was called for make its table at every call, as transformers does.

    For tensors without numbers: there is no telling whether they changed.
    """
    if isinstance(getattr(module, "interpolate_pos_encoding", None), KeptPositions):
        del module.interpolate_pos_encoding


def _forget(embeddings: nn.Module, _: object) -> None:
    forget_positions(embeddings)


def _stamp(table: Tensor) -> tuple[int, int]:
    """Return what changes when the table is written to or replaced."""
    return table.data_ptr(), 0 if table.is_inference() else table._version
