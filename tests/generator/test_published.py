"""Published files become generators whose parts say what they said before."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.generator.small import DECODER, ENCODER
from tests.text.small_sd3 import small_config, small_text
from unimm.dit.config import DDTConfig
from unimm.dit.ddt import DDT
from unimm.dit.mmdit import MMDiT, MMDiTConfig, TextConditions
from unimm.dit.sit import SiT, SiTConfig
from unimm.generator import ClassGenerator, TextGenerator
from unimm.generator.published import rae_generator, repa_generator, sd3_generator
from unimm.latents.decoder import DecoderConfig, RAEDecoder
from unimm.latents.encoder import EncoderConfig, build_encoder
from unimm.latents.vae import VAE, SD3VAEConfig, SDVAEConfig
from unimm.text.published import FOLDERS, save_words
from unimm.weights.ditdh import ditdh_map
from unimm.weights.rae import write_decoder
from unimm.weights.sd3_files import write_sd3_folder
from unimm.weights.sit import SitFile, write_sit

VAE_SIZES = {"widths": (8, 8), "norm_groups": 4, "layers_per_block": 1, "image_size": 8}


def random(module):
    """Return the module with no parameter at its start, which is silence."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return module.eval().requires_grad_(False)


def same_velocity(model, body, conditions):
    config = body.config
    x, t = torch.randn(2, config.grid**2, config.channels), torch.tensor([0.3, 0.9])
    torch.testing.assert_close(model.velocity(x, t, conditions), body(x, t, conditions))


def test_raes_files_become_a_generator(tmp_path):
    config = DDTConfig(
        channels=8, width=16, condition_width=16, depth=2, heads=2, grid=3, num_classes=5, num_frequencies=6,
        head_width=24, head_heads=2, head_depth=1,
    )  # fmt: skip
    body, decoder = random(DDT(config)), random(RAEDecoder(DecoderConfig(**DECODER)))
    encoder = random(build_encoder(EncoderConfig(**ENCODER)))
    tables = {name: getattr(body, name) for name in ("positions", "rope_cos", "rope_sin")}
    tables |= {name: getattr(body, name) for name in ("head_rope_cos", "head_rope_sin")}
    theirs = ditdh_map(dataclasses.asdict(config)).write({**body.state_dict(), **tables})
    shown = write_decoder({**decoder.state_dict(), "positions": decoder.positions})
    variance = torch.rand(8, 3, 3) + 0.1
    statistics = {"mean": None, "var": variance}  # as released for DINOv2-B
    model = rae_generator({"ema": theirs}, shown, statistics, encoder, decoder_heads=2)
    same_velocity(model, body, torch.tensor([1, 4]))
    pixels = torch.rand(1, 3, 12, 12)
    raw = encoder.encode(pixels)
    scaled = raw / (variance + 1e-5).sqrt().flatten(1).T
    torch.testing.assert_close(model.encode_image(pixels), scaled)
    torch.testing.assert_close(model.decode_latents(scaled), decoder.decode(raw))
    drawn = model.generate([0], seed=0, num_inference_steps=2, output_type="pt").images
    model.save_pretrained(tmp_path / "model")
    again = ClassGenerator.from_pretrained(tmp_path / "model")
    assert torch.equal(again.generate([0], seed=0, num_inference_steps=2, output_type="pt").images, drawn)


def test_repas_file_becomes_a_generator(tmp_path):
    config = SiTConfig(
        channels=4, width=16, condition_width=16, depth=2, heads=2, grid=4, num_classes=5
    )  # fmt: skip
    body, vae = random(SiT(config)), VAE(SDVAEConfig(**VAE_SIZES)).eval()
    sizes = {**dataclasses.asdict(config), "mlp_width": config.mlp_width}
    theirs = write_sit(SitFile(sizes, dict(body.state_dict()), {}))
    model = repa_generator(theirs, vae, heads=2)
    same_velocity(model, body, torch.tensor([1, 4]))
    drawn = model.generate([0], seed=0, num_inference_steps=3, output_type="pt").images
    assert drawn.shape == (1, 3, 8, 8)
    model.save_pretrained(tmp_path / "model")
    again = ClassGenerator.from_pretrained(tmp_path / "model")
    assert torch.equal(again.generate([0], seed=0, num_inference_steps=3, output_type="pt").images, drawn)
    with pytest.raises(ValueError, match="layout: expected 'repa' or 'sit', got 'dit'"):
        repa_generator(theirs, vae, "dit")


def test_sd3s_folder_becomes_a_generator(tmp_path):
    from transformers import T5EncoderModel

    config = MMDiTConfig(
        channels=4, width=16, depth=2, heads=2, grid=4, patch_size=2, sequence_width=32, pooled_width=16,
        max_grid=8, positions="stored",
    )  # fmt: skip
    body, text = random(MMDiT(config)), small_text()
    vae = VAE(SD3VAEConfig(latent_channels=4, **VAE_SIZES)).eval()
    write_sd3_folder(body.state_dict(), dataclasses.asdict(config), tmp_path / "transformer")
    vae.tower.save_pretrained(tmp_path / "vae")
    for name in ("clip_l", "clip_g"):
        text.towers[name].model.save_pretrained(tmp_path / FOLDERS[name][0])
    t5 = T5EncoderModel(text.towers["t5"].encoder.config)
    t5.encoder.load_state_dict(text.towers["t5"].encoder.state_dict())
    t5.save_pretrained(tmp_path / FOLDERS["t5"][0])
    save_words(text.words, tmp_path)
    model = sd3_generator(tmp_path, places=small_config(), t5_tokens=7)
    told = TextConditions(*text.encode(["a star", "two hearts"]))
    same_velocity(model, body, told)
    found = model.conditions_of(["a star", "two hearts"])
    assert torch.equal(found.sequence, told.sequence)
    pixels = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(model.encode_image(pixels), vae.encode(pixels))
    options = {"seed": 0, "num_inference_steps": 3, "output_type": "pt"}
    drawn = model.generate("a star", **options).images
    model.save_pretrained(tmp_path / "model")
    again = TextGenerator.from_pretrained(tmp_path / "model")
    assert torch.equal(again.generate("a star", **options).images, drawn)
    lighter = sd3_generator(tmp_path, ["clip_l", "clip_g"], places=small_config(), t5_tokens=7)
    without = model.generate("a star", without=["t5"], **options).images
    torch.testing.assert_close(lighter.generate("a star", **options).images, without)
