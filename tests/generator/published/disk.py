"""What a user would have on disk: published files and folders, small, with the tensors a test gives them."""

from __future__ import annotations

import json

import torch
from safetensors.torch import save_file

from unimm.latents.decoder import DecoderConfig, RAEDecoder
from unimm.latents.vae import VAE
from unimm.weights.rae import write_decoder

STEPS = {"num_inference_steps": 2, "output_type": "pt", "seed": 3}
VAE_SIZES = {"widths": (8, 8), "norm_groups": 4, "layers_per_block": 1}


def shaken(module, seed=0):
    """Return the module with no parameter at its start, where a gate says nothing."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return module.eval().requires_grad_(False)


def flat(state, path):
    """A bare state dict."""
    torch.save(state, path)


def old(state, path):
    """The same as torch wrote files before 1.6."""
    torch.save(state, path, _use_new_zipfile_serialization=False)


def wrapped(state, path):
    """A training checkpoint: averages beside weights, of a model under DistributedDataParallel."""
    named = {f"module.{name}": x for name, x in state.items()}
    others = {name: torch.zeros_like(x) for name, x in named.items()}
    torch.save({"model": others, "ema": named, "opt": {"state": {}, "lr": 1e-4}, "step": 7}, path)


def safe(state, path):
    """Safetensors, whatever the file is called."""
    save_file({name: x.contiguous() for name, x in state.items()}, path)


WRITERS = {"flat": flat, "old": old, "wrapped": wrapped, "safe": safe}


def write_tower(folder, channels, grid, patch_size=4):
    """Write a DINOv2 with registers whose latents have these sizes; return transformers' model."""
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    config = Dinov2WithRegistersConfig(
        hidden_size=channels, num_hidden_layers=1, num_attention_heads=1, mlp_ratio=2, num_register_tokens=2,
        image_size=grid * patch_size, patch_size=patch_size,
    )  # fmt: skip
    model = shaken(Dinov2WithRegistersModel(config))
    model.save_pretrained(folder)
    return model


def write_rae(folder, channels, grid, mean=None):
    """Write decoder.pt, stat.pt and encoder/ for latents of these sizes; return (decoder, variance)."""
    colours = {"pixel_mean": (0.485, 0.456, 0.406), "pixel_std": (0.229, 0.224, 0.225)}
    config = DecoderConfig(
        channels=channels, width=16, depth=1, heads=2, mlp_width=24, patch_size=2, grid=grid, **colours
    )
    decoder = shaken(RAEDecoder(config))
    torch.save(write_decoder({**decoder.state_dict(), "positions": decoder.positions}), folder / "decoder.pt")
    variance = torch.rand(channels, grid, grid, generator=torch.Generator().manual_seed(1)) + 0.1
    torch.save({"mean": mean, "var": variance}, folder / "stat.pt")
    write_tower(folder / "encoder", channels, grid)
    return decoder, variance


def write_vae(folder, config_class, channels):
    """Write a VAE of diffusers' with so many channels; return it as ours."""
    vae = VAE(config_class(latent_channels=channels, image_size=8, **VAE_SIZES)).eval().requires_grad_(False)
    vae.tower.save_pretrained(folder)
    return vae


def write_json(values, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))
