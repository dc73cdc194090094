"""Published files of REPA's targets: their names turned into timm's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

State = Mapping[str, Any]


def check_names(expected: Mapping[str, Tensor], found: State, name: str) -> None:
    """Raise one ValueError that lists every missing, unexpected and misshapen tensor, if there is any."""
    misshapen = [
        f"{key} (expected {list(expected[key].shape)}, got {list(getattr(found[key], 'shape', []))})"
        for key in expected.keys() & found.keys()
        if expected[key].shape != getattr(found[key], "shape", None)
    ]
    faults = {
        "missing": expected.keys() - found.keys(),
        "unexpected": found.keys() - expected.keys(),
        "misshapen": misshapen,
    }
    listed = [f"{fault}: {', '.join(sorted(map(str, keys)))}" for fault, keys in faults.items() if keys]
    if listed:
        raise ValueError(f"{name}: the tensors do not fit; " + "; ".join(listed))


def _part(state: State, name: str) -> State:
    """The state dict of that name in a training checkpoint, or the file itself where it is bare."""
    return state[name] if isinstance(state.get(name), Mapping) else state


def _renamed(state: State, names: Mapping[str, str], dropped: str = "(?!)") -> dict[str, Any]:
    """State with every pattern in its names replaced, less the names that match `dropped` whole."""
    renamed = {}
    for name, x in state.items():
        if not re.fullmatch(dropped, name):
            for before, after in names.items():
                name = re.sub(before, after, name)
            renamed[name] = x
    return renamed


def read_dinov2(state: State) -> dict[str, Any]:
    """DINOv2's own files: flat."""
    return _renamed(state, {r"\.mlp\.w12\.": ".mlp.fc1.", r"\.mlp\.w3\.": ".mlp.fc2."}, dropped="mask_token")


def read_dinov1(state: State) -> dict[str, Any]:
    """DINO's own files of the backbone: flat, timm's names."""
    return dict(state)


def read_mae(state: State) -> dict[str, Any]:
    """MAE's own files, with or without the decoder."""
    return _renamed(_part(state, "model"), {}, dropped=r"mask_token|decoder_.*")


def read_ijepa(state: State) -> dict[str, Any]:
    """I-JEPA's own files; of the two encoders in it the one that gradients trained, as REPA does."""
    return _renamed(_part(state, "encoder"), {r"^module\.": ""})


def read_mocov3(state: State) -> dict[str, Any]:
    """MoCo v3's own files: the encoder that gradients trained, less its projection head.

    In the published ViT-L, names in blocks 13 and 14 carry the block's number once too often.
    """
    theirs = _part(state, "state_dict")
    inside = {n: x for n, x in theirs.items() if n.startswith("module.base_encoder.")} or theirs
    names = {
        r"^module\.base_encoder\.": "",
        r"^blocks\.13\.norm13\.": "blocks.13.norm1.",
        r"^blocks\.13\.mlp\.fc13\.": "blocks.13.mlp.fc1.",
        r"^blocks\.14\.norm14\.": "blocks.14.norm2.",
        r"^blocks\.14\.mlp\.fc14\.": "blocks.14.mlp.fc2.",
    }
    return _renamed(inside, names, dropped=r"(module\.base_encoder\.)?(head|fc)\..*")


def read_clip(state: State) -> dict[str, Any]:
    """The visual tower among CLIP's own names, or such a tower alone; its projection is left out."""
    inside = {n: x for n, x in state.items() if n.startswith("visual.")} or state
    names = {
        r"^visual\.": "",
        r"^conv1\.": "patch_embed.proj.",
        r"^class_embedding$": "cls_token",
        r"^positional_embedding$": "pos_embed",
        r"^ln_pre\.": "norm_pre.",
        r"^ln_post\.": "norm.",
        r"^transformer\.resblocks\.": "blocks.",
        r"\.ln_([12])\.": r".norm\1.",
        r"\.attn\.in_proj_": ".attn.qkv.",
        r"\.attn\.out_proj\.": ".attn.proj.",
        r"\.mlp\.c_fc\.": ".mlp.fc1.",
        r"\.mlp\.c_proj\.": ".mlp.fc2.",
    }
    ours = _renamed(inside, names, dropped=r"(visual\.)?proj")
    return ours | {
        k: ours[k].reshape(1, -1, ours[k].shape[-1]) for k in ("cls_token", "pos_embed") if k in ours
    }
