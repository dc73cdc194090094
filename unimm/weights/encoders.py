"""The published names of the vision encoders, in both directions; SigLIP's stand in `scale_rae.py`.

Theirs are the names on the hub, which earlier versions of transformers built and every version reads; ours
are those of the modules that transformers builds now. Files differ in what stands before the names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from torch import Tensor

from unimm.shapes import side_of
from unimm.tables import pick
from unimm.weights.folder import refuse
from unimm.weights.keymap import Entry, KeyMap, num_layers
from unimm.weights.scale_rae import SIGLIP


def _pairs(**names: str) -> Iterator[Entry]:
    """Yield weight and bias of each linear layer or norm of a block; `__` stands for a dot."""
    for ours, theirs in names.items():
        for part in ("weight", "bias"):
            yield Entry(
                f"layers.{{i}}.{ours.replace('__', '.')}.{part}", (f"encoder.layer.{{i}}.{theirs}.{part}",)
            )


def _same(*names: str) -> Iterator[Entry]:
    for name in names:
        yield Entry(name, (name,))


_ATTENTION = {
    "attention__q_proj": "attention.attention.query",
    "attention__k_proj": "attention.attention.key",
    "attention__v_proj": "attention.attention.value",
    "attention__o_proj": "attention.output.dense",
}

_EMBEDDINGS = tuple(
    f"embeddings.{name}"
    for name in (
        "cls_token",
        "position_embeddings",
        "patch_embeddings.projection.weight",
        "patch_embeddings.projection.bias",
    )
)

_DINOV2 = (
    *_same(*_EMBEDDINGS, "embeddings.mask_token"),
    *_pairs(**_ATTENTION, norm1="norm1", norm2="norm2", mlp__fc1="mlp.fc1", mlp__fc2="mlp.fc2"),
    *(
        Entry(f"layers.{{i}}.layer_scale{n}.lambda1", (f"encoder.layer.{{i}}.layer_scale{n}.lambda1",))
        for n in (1, 2)
    ),
)

DINOV2_REGISTERS = KeyMap(
    "DINOv2 with registers",
    (*_DINOV2, *_same("embeddings.register_tokens")),
    unused=(r"layernorm\..*",),
)
"""The final norm's weight and bias, which latents never meet, are left out; RAE files have none."""

WEBSSL = KeyMap("WebSSL", (*_DINOV2, *_same("layernorm.weight", "layernorm.bias")))
"""DINOv2 without registers, whose final norm keeps its weight and bias."""

MAE = KeyMap(
    "masked autoencoder",
    (
        *_same(*_EMBEDDINGS),
        *_pairs(
            **_ATTENTION,
            layernorm_before="layernorm_before",
            layernorm_after="layernorm_after",
            mlp__fc1="intermediate.dense",
            mlp__fc2="output.dense",
        ),
    ),
    unused=(r"layernorm\..*",),
)

ENCODER_MAPS = {"siglip2": SIGLIP, "dinov2reg": DINOV2_REGISTERS, "mae": MAE, "webssl": WEBSSL}
"""Tables of names by an encoder's kind; what they read fits an encoder without `use_head`."""

ENCODER_PREFIXES = {
    "rae": {"siglip2": "encoder.model.", "dinov2reg": "encoder.encoder.", "mae": "encoder.model."},
    "diffusers": {"siglip2": "encoder.vision_model.", "dinov2reg": "encoder.", "mae": "encoder."},
}
"""What stands before the names inside a whole autoencoder, by layout and kind."""


def read_encoder(theirs: Mapping[str, Tensor], kind: str, prefix: str = "") -> dict[str, Tensor]:
    """Return an encoder's parameters under our names.

    Args:
        theirs: a published state dict; only names that start with `prefix` are looked at.
        kind: as in the table ENCODER_MAPS.
        prefix: what stands before the names; see ENCODER_PREFIXES.

    Raises:
        ValueError: an unknown kind, or missing or unexpected names, all listed.
    """
    return _map_of(kind).read(theirs, prefix)[0]


def encoder_sizes(theirs: Mapping[str, Tensor], kind: str, prefix: str = "") -> dict[str, int]:
    """Return the sizes of a published encoder, named as in EncoderConfig, read from its tensors.

    They lack `heads`, which no tensor tells (64 channels each in every published DINOv2 and MAE and in SigLIP
    base), and `image_size`, which the caller chooses; `native_size` is what the position table was made for.

    Raises:
        ValueError: an unknown kind, or a tensor that tells a size is absent.
    """
    rows = {row.ours: row.theirs[0].replace("{i}", "0") for row in _map_of(kind).rows}
    found = {name.removeprefix(prefix): x for name, x in theirs.items() if name.startswith(prefix)}
    mlp = rows["layers.{i}.mlp.fc1.weight"]
    patches = next(name for name in rows if re.fullmatch(r".*patch_embedding.*weight", name))
    positions = next(name for name in rows if ".position_embedding" in name)
    registers = [name for name in rows if name.endswith("register_tokens")]
    telling = (mlp, patches, positions, *registers)
    refuse(_map_of(kind).name, missing=[prefix + name for name in telling if name not in found])
    width, _, patch_size, _ = found[patches].shape
    num_positions = found[positions].shape[-2] - ("embeddings.cls_token" in rows)
    return {
        "patch_size": patch_size,
        "width": width,
        "depth": num_layers(found, mlp.split("0.")[0]),
        "mlp_width": found[mlp].shape[0],
        "native_size": side_of(num_positions, "positions") * patch_size,
        "registers": sum(found[name].shape[-2] for name in registers),
    }


def _map_of(kind: str) -> KeyMap:
    return pick("encoder kind", kind, ENCODER_MAPS)
