"""Small towers of transformers with random weights, and their latents computed by hand."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F

from unimm.latents.encoder import EncoderConfig

GRID, PATCH, WIDTH, DEPTH, HEADS, MLP = 5, 4, 16, 2, 2, 32
NATIVE = GRID * PATCH
SIZES = {
    "hidden_size": WIDTH,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": HEADS,
    "image_size": NATIVE,
    "patch_size": PATCH,
}


def shake(model, seed=0):
    """Make every parameter random, so that a forgotten norm, gate or token shows."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def siglip():
    from transformers import SiglipConfig, SiglipModel

    text = {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "vocab_size": 9,
        "max_position_embeddings": 4,
    }
    config = SiglipConfig(vision_config=SIZES | {"intermediate_size": MLP}, text_config=text)
    return shake(SiglipModel(config))


def dinov2reg():
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    config = Dinov2WithRegistersConfig(**SIZES, mlp_ratio=MLP // WIDTH, num_register_tokens=3)
    return shake(Dinov2WithRegistersModel(config))


def webssl():
    from transformers import Dinov2Config, Dinov2Model

    return shake(Dinov2Model(Dinov2Config(**SIZES, mlp_ratio=MLP // WIDTH)))


def mae():
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    decoder = {
        "decoder_hidden_size": 8,
        "decoder_intermediate_size": 8,
        "decoder_num_hidden_layers": 1,
        "decoder_num_attention_heads": 1,
    }
    return shake(
        ViTMAEForPreTraining(ViTMAEConfig(**SIZES, **decoder, intermediate_size=MLP, mask_ratio=0.0))
    )


def siglip_tokens(model, inputs):
    out = model.vision_model(inputs, interpolate_pos_encoding=True, output_hidden_states=True)
    return F.layer_norm(out.hidden_states[-1], (WIDTH,), eps=1e-6)


def dinov2reg_tokens(model, inputs):
    torch.nn.init.ones_(model.layernorm.weight)
    torch.nn.init.zeros_(model.layernorm.bias)
    return model(inputs).last_hidden_state[:, 4:]


def webssl_tokens(model, inputs):
    return model(inputs).last_hidden_state[:, 1:]


def mae_tokens(model, inputs):
    torch.nn.init.ones_(model.vit.layernorm.weight)
    torch.nn.init.zeros_(model.vit.layernorm.bias)
    noise = torch.arange((inputs.shape[-1] // PATCH) ** 2.0).expand(len(inputs), -1)
    return model.vit(inputs, noise=noise, interpolate_pos_encoding=True).last_hidden_state[:, 1:]


TOWERS = {
    "siglip2": (siglip, siglip_tokens),
    "dinov2reg": (dinov2reg, dinov2reg_tokens),
    "mae": (mae, mae_tokens),
    "webssl": (webssl, webssl_tokens),
}


def tiny(kind, **options):
    sizes = EncoderConfig(NATIVE, PATCH, WIDTH, 2, 2, MLP, kind)
    return dataclasses.replace(sizes, **({"registers": 3} if kind == "dinov2reg" else {}) | options)


def pixels(size=NATIVE, batch=2):
    return torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(1))
