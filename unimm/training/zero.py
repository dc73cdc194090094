"""Where DeepSpeed's optimiser keeps what: the state of every parameter, as pieces of it that a process holds.

Under ZeRO the optimiser updates flat tensors in which parameters lie one after the other, each process its
part. A slot says where a range of a parameter lies in them. Names of DeepSpeed's attributes are those of
0.19; this is the one file that knows them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unimm.training.optim import Member
from unimm.training.pieces import Piece, PieceFile, fill_pieces

KINDS = ("exp_avg", "exp_avg_sq")
"""What AdamW keeps beside the number of its steps, in tensors of the parameter's shape."""


@dataclass(frozen=True)
class Slot:
    """A range of a parameter in a flat tensor."""

    name: str
    start: int  # in the flattened parameter
    count: int
    flat: int  # which flat tensor
    offset: int  # in it


@dataclass(frozen=True)
class ZeroState:
    """The optimiser of a started engine, seen parameter by parameter."""

    outer: Any  # DeepSpeed's
    inner: torch.optim.Optimizer  # torch's AdamW under it
    members: list[Member]
    zero_stage: int

    def flats(self) -> list[Tensor]:
        """Return what AdamW updates in this process."""
        if self.zero_stage == 0:
            return [member.parameter for member in self.members]
        if self.zero_stage == 3:
            return self.outer.fp32_partitioned_groups_flat
        return self.outer.single_partition_of_fp32_groups

    def slots(self) -> list[Slot]:
        """Return which ranges of which parameters lie where."""
        if self.zero_stage == 0:
            return [Slot(m.name, 0, m.parameter.numel(), i, 0) for i, m in enumerate(self.members)]
        of = self._slot_in_pieces if self.zero_stage == 3 else self._slot_in_partition
        found = (of(member) for member in self.members)
        return [slot for slot in found if slot is not None and slot.count > 0]

    def _slot_in_pieces(self, member: Member) -> Slot:
        parameter = member.parameter
        flat, offset, count = self.outer.grad_position[self.outer.get_param_id(parameter)]
        start = parameter.ds_tensor.numel() * torch.distributed.get_rank()
        return Slot(member.name, start, min(count, parameter.ds_numel - start), flat, offset)

    def _slot_in_partition(self, member: Member) -> Slot | None:
        mapping = member.parameter._hp_mapping
        if mapping is None:  # all of it lies with other processes
            return None
        there, here = mapping.lp_fragment_address, mapping.hp_fragment_address
        return Slot(member.name, there.start, there.numel, mapping.param_group_index, here.start)

    def tensors(self) -> dict[str, Tensor]:
        """Return what has the shapes of the whole state, by "kind/name"."""
        found = {}
        for member in self.members:
            shape = getattr(member.parameter, "ds_shape", member.parameter.shape)
            found.update({f"{kind}/{member.name}": torch.empty(shape, device="meta") for kind in KINDS})
            found[f"step/{member.name}"] = torch.empty((), device="meta")
        return found

    def pieces(self) -> list[Piece]:
        """Return the state that this process holds; what was never updated has none, and is stored as 0."""
        flats, pieces, shared = self.flats(), [], self.zero_stage == 0
        for slot in self.slots():
            state = self.inner.state.get(flats[slot.flat], {})
            for kind in KINDS:
                if kind in state:
                    part = state[kind].detach().reshape(-1)[slot.offset : slot.offset + slot.count]
                    pieces.append(Piece(f"{kind}/{slot.name}", slot.start, part, shared))
            if slot.start == 0 and "step" in state:
                pieces.append(Piece(f"step/{slot.name}", 0, state["step"].detach().reshape(-1), shared))
        return pieces

    def load(self, stored: PieceFile) -> None:
        """Take this process's ranges of a stored state."""
        flats = self.flats()
        for flat in flats:
            zeros = {kind: torch.zeros_like(flat, requires_grad=False) for kind in KINDS}
            self.inner.state[flat] = {"step": torch.zeros((), device=flat.device), **zeros}
        held = [piece for piece in self.pieces() if piece.name in stored]
        fill_pieces([piece for piece in held if not piece.name.startswith("step/")], stored.read)
        for slot in self.slots():  # a flat tensor counts its steps once: it began when its first part did
            if f"step/{slot.name}" in stored:
                step = self.inner.state[flats[slot.flat]]["step"]
                step.clamp_(min=float(stored.read(f"step/{slot.name}", 0, 1)))

    def gradients_finite(self) -> bool:
        """Return whether the gradients of this update that this process holds are numbers."""
        if self.zero_stage == 3:
            found = (self.outer.get_local_fp32_grad_for_param(m.parameter) for m in self.members)
        elif self.zero_stage == 0:
            found = (m.parameter.grad for m in self.members)
        else:
            here = [m.parameter for m in self.members if m.parameter._hp_mapping is not None]
            found = (p._hp_mapping.get_lp_grad_fragment(p._index_in_param_group) for p in here)
        return all(bool(torch.isfinite(x).all()) for x in found if x is not None)

    def regather(self) -> None:
        """Let go of gathered weights, which are copies of pieces that have changed; small ones come back."""
        if self.zero_stage != 3:
            return
        self.outer.parameter_offload.partition_all_parameters()
        if kept := self.outer.persistent_parameters:
            kept[0].all_gather(kept)
