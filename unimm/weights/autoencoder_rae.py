"""Representation autoencoders as diffusers lays them out (`AutoencoderRAE`): config.json and one safetensors.

Read and written by their layout, without the class (on newer transformers it cannot build SigLIP 2, and loads
DINOv2 with random attention). Published so: `nyu-visionx/RAE-*`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from unimm.weights.encoders import ENCODER_MAPS, ENCODER_PREFIXES, encoder_sizes
from unimm.weights.folder import refuse
from unimm.weights.keymap import KeyMap
from unimm.weights.rae import RAE_DECODER, sizes_of_tensors, whole_decoder

_ATTENTION = {
    "attention.attention.query": "attention.to_q",
    "attention.attention.key": "attention.to_k",
    "attention.attention.value": "attention.to_v",
    "attention.output.dense": "attention.to_out.0",
}


def _renamed(name: str) -> str:
    """Return diffusers' name for RAE's."""
    for theirs, diffusers in _ATTENTION.items():
        name = name.replace(theirs, diffusers)
    return name


DECODER = KeyMap(
    "AutoencoderRAE decoder",
    tuple(replace(row, theirs=tuple(map(_renamed, row.theirs))) for row in RAE_DECODER.rows),
)

ENCODER_TYPES = {"dinov2": "dinov2reg", "siglip2": "siglip2", "mae": "mae"}
"""Our kind of encoder by diffusers' `encoder_type`."""

_HEAD_WIDTH = 64  # of every encoder that diffusers builds
_BASE_GRID = 16  # to which diffusers stretches the decoder's positions; RAE itself counts them 0, 1, 2, ...
_NORM_EPS = {"mae": 1e-12}
_IMAGENET = {"encoder_norm_mean": (0.485, 0.456, 0.406), "encoder_norm_std": (0.229, 0.224, 0.225)}
_BUFFERS = {"encoder_norm_mean": "encoder_mean", "encoder_norm_std": "encoder_std"}
_MEAN, _STD = "_latents_mean", "_latents_std"
_SIZES = {  # diffusers' name: (which config, the field)
    "encoder_hidden_size": ("encoder", "width"),
    "encoder_patch_size": ("encoder", "patch_size"),
    "encoder_num_hidden_layers": ("encoder", "depth"),
    "decoder_hidden_size": ("decoder", "width"),
    "decoder_num_hidden_layers": ("decoder", "depth"),
    "decoder_intermediate_size": ("decoder", "mlp_width"),
    "patch_size": ("decoder", "patch_size"),
}
_ALWAYS = {"_class_name": "AutoencoderRAE", "num_channels": 3, "scaling_factor": 1.0}
_DEFAULTS = {"encoder_type": "dinov2", "encoder_input_size": 224, "decoder_num_attention_heads": 16}
_OF_NO_EFFECT = {  # on weights and pictures; the statistics are buffers, whatever the config repeats of them
    "noise_tau": 0.0,
    "reshape_to_2d": True,
    "use_encoder_loss": False,
}
_REST = ("image_size", "latents_mean", "latents_std", "_diffusers_version", "_name_or_path")


@dataclass(frozen=True)
class AutoencoderRAE:
    """What such a folder holds, under our names."""

    encoder_config: dict[str, Any]
    """Fields of EncoderConfig."""
    decoder_config: dict[str, Any]
    """Fields of DecoderConfig."""
    encoder: dict[str, Tensor]
    """Parameters of the encoder, by our names."""
    decoder: dict[str, Tensor]
    """Parameters of the decoder, by our names."""
    mean: Tensor
    """Statistics [C H W] or [C] in the form "std_plus_eps": latents = (z - mean) / (std + 1e-5)."""
    std: Tensor
    """See mean."""
    unread: dict[str, Tensor] = field(default_factory=dict)
    """Tensors that latents never meet (SigLIP's pooling head), by their published names."""


def read_autoencoder_rae(
    config: Mapping[str, Any], theirs: Mapping[str, Tensor], position_step: float | None = None
) -> AutoencoderRAE:
    """Return the parts of a published autoencoder.

    Args:
        config: the values of config.json.
        theirs: the tensors of its safetensors file.
        position_step: of the decoder's positions, which no tensor tells; None for 16 / grid, as diffusers has
            it. Give 1 for a decoder trained by RAE's own code on a grid other than 16 (512 pixels from 1024
            tokens): diffusers shows it with positions that it was not trained on.

    Raises:
        ValueError: a setting that makes another network, sizes that are not the tensors', or tensors that are
            missing or unexpected, all of them listed.
    """
    _check_settings(config)
    values = _DEFAULTS | dict(config)
    kind = ENCODER_TYPES[values["encoder_type"]]
    prefix = ENCODER_PREFIXES["diffusers"][kind]
    buffers = (*_BUFFERS.values(), _MEAN, _STD)
    strangers = [name for name in theirs if name not in buffers and not name.startswith((prefix, "decoder."))]
    missing = [name for name in buffers if name not in theirs]
    refuse("AutoencoderRAE", missing=missing, unexpected=strangers)
    encoder, _ = ENCODER_MAPS[kind].read(theirs, prefix)
    known = ENCODER_MAPS[kind].write(encoder, prefix)
    encoder_config, decoder_config = _configs(values, theirs, kind, prefix, position_step)
    return AutoencoderRAE(
        encoder_config=encoder_config,
        decoder_config=decoder_config,
        encoder=encoder,
        decoder=whole_decoder(*DECODER.read(theirs, "decoder.")),
        mean=_per_channel(theirs[_MEAN], encoder_config["width"]),
        std=_per_channel(theirs[_STD], encoder_config["width"]),
        unread={name: x for name, x in theirs.items() if name.startswith(prefix) and name not in known},
    )


def write_autoencoder_rae(parts: AutoencoderRAE) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return (config, tensors) as published. Diffusers has fixed numbers of encoder heads and MLP widths.

    Raises:
        ValueError: an encoder that diffusers does not have, or names that do not fit.
    """
    encoder, decoder = parts.encoder_config, parts.decoder_config
    types = {ours: theirs for theirs, ours in ENCODER_TYPES.items()}
    if encoder["kind"] not in types:
        raise ValueError(f"AutoencoderRAE: expected one of {', '.join(types)}, got {encoder['kind']!r}")
    if encoder["heads"] != encoder["width"] // _HEAD_WIDTH:
        raise ValueError(
            f"AutoencoderRAE: expected {encoder['width'] // _HEAD_WIDTH} encoder heads for a width of "
            f"{encoder['width']}, got {encoder['heads']}; diffusers builds no other"
        )
    if decoder["position_step"] != _BASE_GRID / decoder["grid"]:
        raise ValueError(
            f"AutoencoderRAE: expected decoder positions {_BASE_GRID / decoder['grid']} apart on a grid of "
            f"{decoder['grid']}, got {decoder['position_step']}; diffusers builds no other"
        )
    sides = {"encoder": encoder, "decoder": decoder}
    colours = {"encoder_norm_mean": encoder["pixel_mean"], "encoder_norm_std": encoder["pixel_std"]}
    colours = {name: [float(x) for x in _triple(value)] for name, value in colours.items()}
    config = {
        **_ALWAYS,
        **_OF_NO_EFFECT,
        **{name: sides[side][size] for name, (side, size) in _SIZES.items()},
        **colours,
        "encoder_type": types[encoder["kind"]],
        "encoder_input_size": encoder["image_size"],
        "decoder_num_attention_heads": decoder["heads"],
        "image_size": decoder["grid"] * decoder["patch_size"],
        # Diffusers takes the buffers' shapes from here.
        "latents_mean": parts.mean.tolist(),
        "latents_std": parts.std.tolist(),
    }
    prefix = ENCODER_PREFIXES["diffusers"][encoder["kind"]]
    buffers = {_BUFFERS[name]: torch.tensor(value)[None, :, None, None] for name, value in colours.items()}
    return config, {
        **ENCODER_MAPS[encoder["kind"]].write(parts.encoder, prefix),
        **parts.unread,
        **DECODER.write(parts.decoder, "decoder."),
        **buffers,
        _MEAN: parts.mean,
        _STD: parts.std,
    }


def _check_settings(config: Mapping[str, Any]) -> None:
    known = {*_ALWAYS, *_DEFAULTS, *_OF_NO_EFFECT, *_SIZES, *_IMAGENET, *_REST}
    refuse("AutoencoderRAE config", unknown=[name for name in config if name not in known])
    for name, wanted in _ALWAYS.items():
        if config.get(name, wanted) != wanted:
            raise ValueError(f"AutoencoderRAE config: expected {name} = {wanted!r}, got {config[name]!r}")
    kind = config.get("encoder_type", "dinov2")
    if kind not in ENCODER_TYPES:
        raise ValueError(
            f"AutoencoderRAE config: encoder_type: expected one of {', '.join(ENCODER_TYPES)}, got {kind!r}"
        )


def _configs(
    values: Mapping[str, Any],
    theirs: Mapping[str, Tensor],
    kind: str,
    prefix: str,
    position_step: float | None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields of EncoderConfig and DecoderConfig."""
    sizes = encoder_sizes(theirs, kind, prefix)
    bare = {name.removeprefix("decoder."): x for name, x in theirs.items() if name.startswith("decoder.")}
    encoder = sizes | {
        "kind": kind,
        "image_size": values["encoder_input_size"],
        "heads": sizes["width"] // _HEAD_WIDTH,
        "norm_eps": _NORM_EPS.get(kind, 1e-6),
        "resize": "bicubic",
    }
    grid = values["encoder_input_size"] // sizes["patch_size"]
    decoder = sizes_of_tensors(bare, values["decoder_num_attention_heads"]) | {
        "grid": grid,
        "position_step": _BASE_GRID / grid if position_step is None else position_step,
    }
    _check_sizes(values, {"encoder": encoder, "decoder": decoder})
    mean, std = (_colours(values, name, theirs[buffer]) for name, buffer in _BUFFERS.items())
    colours = {"pixel_mean": mean, "pixel_std": std}
    return encoder | colours, decoder | colours


def _check_sizes(values: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]]) -> None:
    image_size = found["decoder"]["grid"] * found["decoder"]["patch_size"]
    told = {
        name: (values[name], found[side][size]) for name, (side, size) in _SIZES.items() if name in values
    }
    if values.get("image_size") is not None:
        told["image_size"] = (values["image_size"], image_size)
    wrong = [
        f"{name} ({ours} by the tensors, {said} said)" for name, (said, ours) in told.items() if said != ours
    ]
    refuse("AutoencoderRAE config", differing=wrong)


def _colours(values: Mapping[str, Any], name: str, buffer: Tensor) -> tuple[float, float, float]:
    """Return the pixel mean or std: the config's numbers, of which the buffer is a copy."""
    said = tuple(values.get(name) or _IMAGENET[name])
    if len(said) != 3 or not torch.allclose(buffer.flatten().float(), torch.tensor(said), rtol=0, atol=1e-2):
        raise ValueError(
            f"AutoencoderRAE: {_BUFFERS[name]} holds {buffer.flatten().tolist()}, its config says {said}"
        )
    return said


def _triple(value: float | tuple[float, float, float]) -> tuple[float, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * 3


def _per_channel(statistic: Tensor, channels: int) -> Tensor:
    """Return [C H W] as it is, and one number for all (diffusers' default) as [C]."""
    return statistic.expand(channels) if statistic.numel() == 1 else statistic
