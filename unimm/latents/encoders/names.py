"""One set of names for the tensors of a tower, whichever version of transformers built it."""

from __future__ import annotations

from torch import nn

RENAMED = {
    ".attention.attention.query.": ".attention.q_proj.",
    ".attention.attention.key.": ".attention.k_proj.",
    ".attention.attention.value.": ".attention.v_proj.",
    ".attention.output.dense.": ".attention.o_proj.",
}
"""Names that DINOv2's attention had in transformers up to 5.17 at least, and has now."""


def use_present_names(module: nn.Module) -> None:
    """Let state dicts go in and out under the present names where the module was built with the old ones."""
    if any(old in name for name, _ in module.named_parameters() for old in RENAMED):
        module.register_state_dict_post_hook(_to_present)
        module.register_load_state_dict_pre_hook(_to_old)


def _to_present(_: nn.Module, state: dict, prefix: str, __: object) -> None:
    _rename(state, prefix, RENAMED)


def _to_old(_: nn.Module, state: dict, prefix: str, *__: object) -> None:
    _rename(state, prefix, {new: old for old, new in RENAMED.items()})


def _rename(state: dict, prefix: str, names: dict[str, str]) -> None:
    for key in [key for key in state if key.startswith(prefix)]:
        for before, after in names.items():
            if before in key:
                state[key.replace(before, after)] = state.pop(key)
