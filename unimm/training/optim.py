"""Parameters to optimisers: a table of groups, AdamW, Muon for matrices, the learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
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


def _covers(rule: str, name: str) -> bool:
    return name == rule or name.startswith(rule + ".")


def _longest_prefix(name: str, groups: Mapping[str, Group]) -> str | None:
    return max((rule for rule in groups if _covers(rule, name)), key=len, default=None)


def parameter_groups(members: list[Member], optim: OptimRecipe) -> list[dict]:
    """Parameter groups of torch, one for each (lr scale, decays); `scale` is kept beside `lr`."""
    buckets: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for member in members:
        buckets.setdefault((member.group.lr_scale, member.decays), []).append(member.parameter)
    return [
        {
            "params": params,
            "lr": optim.lr * scale,
            "scale": scale,
            "weight_decay": optim.weight_decay * decays,
        }
        for (scale, decays), params in buckets.items()
    ]


class Optimizers:
    """AdamW and, where a group asks for it, Muon; stepped, scheduled and saved as one."""

    def __init__(self, members: list[Member], optim: OptimRecipe):
        self.optim = optim
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
        clip = math.inf if self.optim.clip is None else self.optim.clip
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, clip, foreach=True)
        for optimizer in self.all.values():
            set_lr(optimizer, self.optim.lr, factor)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return norm

    def state_dict(self) -> dict:
        return {name: optimizer.state_dict() for name, optimizer in self.all.items()}

    def load_state_dict(self, state: dict) -> None:
        if set(state) != set(self.all):
            raise ValueError(f"optimizer state: expected {sorted(self.all)}, got {sorted(state)}")
        for name, optimizer in self.all.items():
            optimizer.load_state_dict(state[name])


def set_lr(optimizer: torch.optim.Optimizer, lr: float, factor: float) -> None:
    """Give each parameter group its share of the peak learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["scale"] * factor
