"""The VAEs of Stable Diffusion and FLUX from a folder that diffusers saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from unimm.files import MAX_BYTES, read_tensors
from unimm.latents.vae import VAE, VAEConfig
from unimm.whole import read_json

WEIGHTS = "diffusion_pytorch_model.safetensors"
_FIELDS = {  # diffusers' name: (ours, diffusers' default)
    "latent_channels": ("latent_channels", 4),
    "scaling_factor": ("scaling_factor", 0.18215),
    "shift_factor": ("shift_factor", None),
    "block_out_channels": ("widths", (64,)),
    "layers_per_block": ("layers_per_block", 1),
    "norm_num_groups": ("norm_groups", 32),
    "use_quant_conv": ("quant_conv", True),
}
_ALWAYS = {  # what the VAEs we read all are
    "_class_name": "AutoencoderKL",
    "act_fn": "silu",
    "in_channels": 3,
    "out_channels": 3,
    "latents_mean": None,
    "latents_std": None,
    "mid_block_add_attention": True,
}
_OF_NO_EFFECT = ("sample_size", "force_upcast", "_diffusers_version", "_name_or_path")
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def load_vae(folder: str | Path, packing: int = 1, image_size: int = 256, max_bytes: int = MAX_BYTES) -> VAE:
    """Return the VAE in a folder that diffusers saved: config.json and one safetensors file.

    Args:
        folder: such as the `vae` subfolder of a downloaded pipeline.
        packing: 2 for FLUX's tokens; no file tells it.
        image_size: pixels per side where nobody says otherwise.
        max_bytes: of the weights; see `read_tensors`.

    Raises:
        FileNotFoundError: no such folder, or a file of it is missing.
        ImportError: diffusers is not installed.
        ValueError: another kind of model, or weights that are missing, unexpected or misshapen.
    """
    folder = Path(folder)
    values = read_json(folder / "config.json", of="vae")
    if not (folder / WEIGHTS).is_file():
        raise FileNotFoundError(f"vae: expected {WEIGHTS} in {folder}, found none")
    vae = VAE(VAEConfig(**vae_sizes(values), packing=packing, image_size=image_size))
    load_tower(vae, read_tensors(folder / WEIGHTS, max_bytes), str(folder))
    return vae


def fill_vae(space: VAE, folder: str | Path) -> None:
    """Fill a VAE with the weights of a folder, which must be of the same sizes and scale its latents alike.

    Raises:
        FileNotFoundError, ValueError: see `load_vae`; another config, both values named.
    """
    found = load_vae(folder, space.config.packing, space.config.image_size)
    ours, theirs = asdict(space.config), asdict(found.config)
    for name, value in theirs.items():
        if ours[name] != value:
            raise ValueError(
                f"vae.{name}: the folder {folder} has {value} and the settings say {ours[name]}; "
                "write the folder's value into the settings"
            )
    space.load_state_dict(found.state_dict(), strict=True)


def vae_facts(config: VAEConfig) -> dict[str, Any]:
    """Return diffusers' config.json of these sizes; packing and image_size stand in none."""
    levels = len(config.widths)
    facts = {theirs: getattr(config, ours) for theirs, (ours, _) in _FIELDS.items()}
    return {
        **_ALWAYS,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        **facts,
        "block_out_channels": list(config.widths),
        "use_post_quant_conv": config.quant_conv,
        "sample_size": config.image_size,
    }


def vae_sizes(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of VAEConfig that diffusers' config.json tells.

    Raises:
        ValueError: a key that we do not know, or a value that makes another network.
    """
    levels = len(values.get("block_out_channels", (64,)))
    always = _ALWAYS | {
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "use_post_quant_conv": values.get("use_quant_conv", True),
    }
    strangers = values.keys() - always.keys() - _FIELDS.keys() - set(_OF_NO_EFFECT)
    if strangers:
        raise ValueError(f"vae config: unknown keys {', '.join(sorted(strangers))}")
    for name, wanted in always.items():
        found = values.get(name, wanted)
        if (list(found) if isinstance(found, tuple) else found) != wanted:
            raise ValueError(f"vae config: expected {name} = {wanted!r}, got {found!r}")
    sizes = {ours: values.get(name, default) for name, (ours, default) in _FIELDS.items()}
    return sizes | {"widths": tuple(sizes["widths"]), "shift_factor": sizes["shift_factor"] or 0.0}


def load_tower(vae: VAE, state: Mapping[str, Tensor], name: str = "vae") -> None:
    """Copy diffusers' state dict into the VAE, strictly; attention may have its names of before 2023.

    Raises:
        ValueError: missing, unexpected or misshapen names, all of them listed; nothing is changed then.
    """
    theirs = present_names(state)
    ours = vae.tower.state_dict()
    misshapen = {k for k in ours.keys() & theirs.keys() if ours[k].shape != theirs[k].shape}
    faults = {"missing": ours.keys() - theirs, "unexpected": theirs.keys() - ours, "misshapen": misshapen}
    listed = [f"{kind}: {', '.join(sorted(keys))}" for kind, keys in faults.items() if keys]
    if listed:
        raise ValueError(f"{name}: the tensors do not fit; " + "; ".join(listed))
    vae.tower.load_state_dict(theirs, strict=True)


def present_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return diffusers' state dict with the names that attention has since 2023."""
    names = {}
    for key, x in state.items():
        stem, _, last = key.rpartition(".")
        parent, _, layer = stem.rpartition(".")
        old = ".attentions." in key and layer in _OLD_ATTENTION
        names[f"{parent}.{_OLD_ATTENTION[layer]}.{last}" if old else key] = x
    return names
