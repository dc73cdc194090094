"""Parameters to optimisers: a table of groups, AdamW, Muon for matrices, the learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unimm.tables import suggestion
from unimm.training.recipe import Group, OptimRecipe

SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "constant": lambda progress, final: 1.0,
    "cosine": lambda progress, final: final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress)),
    "linear": lambda progress, final: final + (1 - final) * (1 - progress),
}
"""How the rate falls: the fraction of its peak, from progress in [0, 1] and the fraction at the end."""


def lr_factor(step: int, num_steps: int, optim: OptimRecipe) -> float:
    """The fraction of the peak learning rate used by update `step` (counted from 0)."""
    if step < optim.warmup_steps:
        return (step + 1) / optim.warmup_steps
    start = optim.warmup_steps + optim.hold_steps
    length = num_steps - start if optim.decay_steps is None else optim.decay_steps
    progress = min(1.0, max(0, step - start) / max(1, length))
    return SCHEDULES[optim.schedule](progress, optim.final_fraction)


@dataclass(frozen=True)
class Member:
    """One parameter and how it is trained."""

    name: str  # "module.path.to.weight"
    parameter: nn.Parameter
    group: Group

    @property
    def is_muon(self) -> bool:
        return self.group.optimizer == "muon" and self.parameter.ndim == 2

    @property
    def decays(self) -> bool:
        return self.parameter.ndim >= 2


def freeze_and_collect(modules: Mapping[str, nn.Module], groups: Mapping[str, Group]) -> list[Member]:
    """Set `requires_grad` by the table and list what trains. The longest matching name in the table wins.

    Args:
        modules: the stage's named modules.
        groups: dotted prefixes of parameter names, such as "llm" or "model.dit.blocks"; each must match
        something.

    Raises:
        ValueError: a name that matches no parameter, a parameter that no name covers, or nothing to train.
    """
    members, used, seen, names = [], set(), set(), []
    for module_name, module in modules.items():
        for path, parameter in module.named_parameters():
            name = f"{module_name}.{path}"
            names.append(name)
            if id(parameter) in seen:  # tied weights belong to the first name
                continue
            seen.add(id(parameter))
            rule = _longest_prefix(name, groups)
            if rule is None:
                raise ValueError(f"groups: no group covers parameter {name!r} (groups: {', '.join(groups)})")
            used.add(rule)
            parameter.requires_grad_(groups[rule].lr_scale > 0)
            if parameter.requires_grad:
                members.append(Member(name, parameter, groups[rule]))
    for rule in groups:
        if rule not in used and not any(_covers(rule, name) for name in names):
            near = suggestion(rule, [*modules, *names])
            raise ValueError(f"groups: {rule!r} matches no parameter{near}")
    if not members:
        raise ValueError("groups: expected at least one group with lr_scale above 0, all are frozen")
    return members


def refuse_muon(members: Iterable[Member]) -> None:
    """Refuse parameters that DeepSpeed would take apart from an optimiser that needs them whole.

    Raises:
        ValueError: there is one.
    """
    if any(member.is_muon for member in members):
        raise ValueError(
            "groups: expected optimizer adamw under deepspeed, got muon, which needs whole matrices; "
            "set matrices=adamw"
        )


def _covers(rule: str, name: str) -> bool:
    return name == rule or name.startswith(rule + ".")


def _longest_prefix(name: str, groups: Mapping[str, Group]) -> str | None:
    return max((rule for rule in groups if _covers(rule, name)), key=len, default=None)


def parameter_groups(members: list[Member], optim: OptimRecipe) -> list[dict]:
    """Parameter groups of torch, one for each (lr scale, decays, betas); `scale` is kept beside `lr`."""
    buckets: dict[tuple[float, bool, tuple[float, float] | None], list[nn.Parameter]] = {}
    for member in members:
        betas = None if member.is_muon else member.group.betas
        buckets.setdefault((member.group.lr_scale, member.decays, betas), []).append(member.parameter)
    return [
        {
            "params": params,
            "lr": optim.lr * scale,
            "scale": scale,
            "weight_decay": optim.weight_decay * decays,
            **({} if betas is None else {"betas": betas}),
        }
        for (scale, decays, betas), params in buckets.items()
    ]


class Optimizers:
    """AdamW and, where a group asks for it, Muon; stepped, scheduled and saved as one."""

    def __init__(self, members: list[Member], optim: OptimRecipe):
        self.optim, self.members = optim, members
        self.parameters = [member.parameter for member in members]
        self.all: dict[str, torch.optim.Optimizer] = {}
        adamw = parameter_groups([m for m in members if not m.is_muon], optim)
        muon = parameter_groups([m for m in members if m.is_muon], optim)
        if (
            adamw
        ):  # fused: one pass over memory; on two CPU cores 39 ms against foreach's 91 for 6 M parameters
            self.all["adamw"] = torch.optim.AdamW(
                adamw, lr=optim.lr, betas=optim.betas, eps=optim.eps, fused=True
            )
        if muon:  # updates of AdamW's size: both share lr and decay (Liu et al. 2025, arXiv 2502.16982)
            self.all["muon"] = torch.optim.Muon(
                muon, lr=optim.lr, momentum=optim.muon_momentum, adjust_lr_fn="match_rms_adamw"
            )

    def step(self, factor: float) -> Tensor:
        """Clip, update with `factor` of the peak rate, clear gradients; return the norm before clipping."""
        norm = self.clip()
        self.update(factor)
        return norm

    def clip(self) -> Tensor:
        """Clip the gradients; return the norm that they had."""
        clip = math.inf if self.optim.clip is None else self.optim.clip
        return torch.nn.utils.clip_grad_norm_(self.parameters, clip, foreach=True)

    def update(self, factor: float) -> None:
        """Update by the gradients as they are, and clear them."""
        for optimizer in self.all.values():
            set_lr(optimizer, self.optim.lr, factor)
            optimizer.step()
        self.clear()

    def clear(self) -> None:
        """Forget the gradients."""
        for optimizer in self.all.values():
            optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Return the live state by "kind/name of the parameter"; a parameter without gradients has none."""
        return {
            f"{kind}/{member.name}": x
            for member in self.members
            for kind, x in self._optimizer(member).state.get(member.parameter, {}).items()
        }

    def load_state(self, stored: Mapping[str, Tensor]) -> None:
        """Take a stored state.

        Raises:
            ValueError: states of other parameters, or of another optimiser.
        """
        check_states(stored, {member.name: state_kinds(member) for member in self.members})
        for member in self.members:
            found = {kind: stored.get(f"{kind}/{member.name}") for kind in state_kinds(member)}
            device = member.parameter.device
            if all(x is not None for x in found.values()):
                self._optimizer(member).state[member.parameter] = {
                    kind: x.to(device, copy=True) for kind, x in found.items()
                }

    def _optimizer(self, member: Member) -> torch.optim.Optimizer:
        return self.all["muon" if member.is_muon else "adamw"]


def state_kinds(member: Member) -> tuple[str, ...]:
    """Return what the optimiser of a parameter keeps of it."""
    return ("momentum_buffer",) if member.is_muon else ("exp_avg", "exp_avg_sq", "step")


def check_states(stored: Iterable[str], expected: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse an optimiser's state that belongs to other parameters or to another optimiser.

    Args:
        stored: "kind/name" of every stored tensor.
        expected: kinds by name of the parameters that train.

    Raises:
        ValueError: there is one that is not expected.
    """
    known = {f"{kind}/{name}" for name, kinds in expected.items() for kind in kinds}
    if strange := sorted(set(stored) - known):
        raise ValueError(
            f"optimizer state: expected {', '.join(sorted(set(sum(expected.values(), ()))))} of the "
            f"{len(expected)} parameters that train, got also {', '.join(strange[:4])}"
            f"{' ...' if len(strange) > 4 else ''}; who trains, and by which optimizer, must stay as it was"
        )


def set_lr(optimizer: torch.optim.Optimizer, lr: float, factor: float) -> None:
    """Give each parameter group its share of the peak learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["scale"] * factor
