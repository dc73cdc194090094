"""RAE's files on disk become generators that say what was recorded, and are written back as they were."""

from __future__ import annotations

import argparse
from dataclasses import asdict

import pytest
import torch

from tests.generator.published.disk import STEPS, WRITERS, shaken, write_json, write_rae
from tests.parity.bodies import TOLERANCE, inputs, settings, tokens
from unimm.dit.config import DDTConfig
from unimm.dit.ddt import DDT
from unimm.files import read_tensors
from unimm.generator import ClassGenerator
from unimm.generator.published import load_published, save_published
from unimm.generator.published.opening import published_body
from unimm.weights.ditdh import ditdh_map

BODIES = pytest.mark.parity("rae/ditdh_tiny_*", "rae/lightningdit_rae_variant_tiny")
SIZES = {
    "channels": 8, "width": 16, "condition_width": 16, "depth": 2, "heads": 2, "grid": 3, "num_classes": 5,
    "num_frequencies": 6, "head_width": 24, "head_heads": 2, "head_depth": 1,
}  # fmt: skip


def untold(said):
    """Return the sizes that the tensors of a recorded body do not tell."""
    widths = said["hidden_size"]
    if isinstance(widths, list):
        return {"depth": said["depth"][0]} if widths[0] == widths[1] else {}
    return {} if said["use_rope"] or said["use_qknorm"] else {"heads": said["num_heads"]}


def write_body(path, **changes):
    body = shaken(DDT(DDTConfig(**SIZES | changes)))
    torch.save(published_body(body, ditdh_map(asdict(body.config))), path)
    return body


@pytest.fixture
def paths(tmp_path):
    """A system as downloaded, but for its body."""
    write_rae(tmp_path, SIZES["channels"], SIZES["grid"])
    files = {"decoder": tmp_path / "decoder.pt", "statistics": tmp_path / "stat.pt"}
    return {"body": tmp_path / "body.pt", **files, "encoder": tmp_path / "encoder", "decoder_heads": 2}


@BODIES
@pytest.mark.parametrize("written", WRITERS)
@torch.no_grad()
def test_a_recorded_body_says_what_was_recorded_and_draws(recorded, written, tmp_path):
    said, state = settings(recorded), recorded.under("state.")
    channels, grid = said["in_channels"], said["input_size"]
    WRITERS[written](state, tmp_path / "body.pt")
    decoder, _ = write_rae(tmp_path, channels, grid)
    model = load_published(
        "rae", body=tmp_path / "body.pt", decoder=tmp_path / "decoder.pt", statistics=tmp_path / "stat.pt",
        encoder=tmp_path / "encoder", decoder_heads=2, **untold(said),
    )  # fmt: skip
    assert isinstance(model, ClassGenerator)
    assert not model.training
    x, t, y = inputs(recorded)
    null = y == said["num_classes"]
    v = model.velocity(x, t, y.masked_fill(null, 0), null)
    torch.testing.assert_close(v, tokens(recorded.tensors["out.velocity"]), **TOLERANCE)
    drawn = model.generate([0, 1], guidance_scale=1.5, **STEPS).images
    assert drawn.shape == (2, 3, *[decoder.config.image_size] * 2)
    assert not torch.equal(drawn[0], drawn[1])


@torch.no_grad()
def test_every_part_is_the_one_on_disk(paths, tmp_path):
    body = write_body(paths["body"])
    decoder, variance = write_rae(tmp_path, SIZES["channels"], SIZES["grid"])
    model = load_published("rae", **paths)
    pixels = torch.rand(2, 3, 12, 12)
    raw = model.space.encoder.encode(pixels)
    scaled = raw / (variance + 1e-5).sqrt().flatten(1).T
    torch.testing.assert_close(model.encode_image(pixels), scaled)
    torch.testing.assert_close(model.decode_latents(scaled), decoder.decode(raw))
    assert model.encode_image(torch.rand(1, 3, 17, 17)).shape == (1, 9, 8)  # resized, as published
    x, t, y = torch.randn(2, 9, 8), torch.tensor([0.3, 0.9]), torch.tensor([4, 0])
    torch.testing.assert_close(model.velocity(x, t, y), body(x, t, y))
    sampling = model.settings.sampling
    assert (sampling.grid, sampling.num_inference_steps, sampling.guidance_scale) == ("rae", 49, 1.0)
    assert model.settings.alpha == pytest.approx((9 * 8 / 4096) ** 0.5)


def test_a_loaded_generator_is_saved_in_our_own_format_too(paths, tmp_path):
    write_body(paths["body"])
    model = load_published("rae", **paths)
    model.save_pretrained(tmp_path / "ours")
    again = ClassGenerator.from_pretrained(tmp_path / "ours")
    assert torch.equal(again.generate(1, **STEPS).images, model.generate(1, **STEPS).images)


@BODIES
def test_what_is_written_is_what_was_read(recorded, tmp_path):
    said, state = settings(recorded), recorded.under("state.")
    torch.save(state, tmp_path / "body.pt")
    mean = torch.randn(said["in_channels"], *[said["input_size"]] * 2)
    write_rae(tmp_path, said["in_channels"], said["input_size"], mean)
    paths = {"body": "body.pt", "decoder": "decoder.pt", "statistics": "stat.pt", "encoder": "encoder"}
    paths = {name: tmp_path / path for name, path in paths.items()}
    model = load_published("rae", **paths, decoder_heads=2, **untold(said))
    save_published("rae", model, tmp_path / "out")
    written = {"body": "stage2_model.pt", "decoder": "model.pt", "statistics": "stat.pt"}
    for part, name in written.items():
        before, after = read_tensors(paths[part]), read_tensors(tmp_path / "out" / name)
        assert after.keys() == before.keys()
        for key, x in before.items():
            torch.testing.assert_close(after[key], x, rtol=1e-6, atol=2e-6)
    paths |= {part: tmp_path / "out" / name for part, name in written.items()}
    again = load_published("rae", **paths, decoder_heads=2, **untold(said))
    torch.testing.assert_close(again.generate(1, **STEPS).images, model.generate(1, **STEPS).images)


@pytest.mark.parity("sd3/autoencoder_rae_siglip2", "sd3/autoencoder_rae_dinov2")
@torch.no_grad()
def test_diffusers_autoencoder_is_the_codec_of_a_body(recorded, tmp_path):
    from safetensors.torch import save_file

    state = recorded.under(recorded.value["state_dict_prefix"])
    (tmp_path / "codec").mkdir()
    save_file(state, tmp_path / "codec" / "diffusion_pytorch_model.safetensors")
    write_json(recorded.value["config"], tmp_path / "codec" / "config.json")
    _, channels, grid, _ = recorded.tensors["out.latent"].shape
    write_body(tmp_path / "body.pt", channels=channels, grid=grid)
    model = load_published("rae_diffusers", body=tmp_path / "body.pt", autoencoder=tmp_path / "codec")
    latents = model.encode_image(recorded.tensors["in.image"])
    torch.testing.assert_close(latents, tokens(recorded.tensors["out.latent"]), atol=2e-5, rtol=2e-5)
    decoded = model.decode_latents(latents)
    torch.testing.assert_close(decoded, recorded.tensors["out.decoded"].clamp(0, 1), atol=2e-5, rtol=2e-5)
    assert model.generate([0, 1], **STEPS).images.shape == (2, *decoded.shape[1:])


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("body", lambda s: s.pop("blocks.0.attn.qkv.bias"), r"missing: blocks\.0\.attn\.qkv\.bias"),
        ("body", lambda s: s.update(stranger=torch.ones(1)), "unexpected: stranger"),
        ("body", lambda s: s["pos_embed"].add_(1), "differing: positions"),
        ("body", lambda s: s.pop("t_embedder.W"), "Load it as 'lightningdit'"),
        ("decoder", lambda s: s.pop("decoder_norm.bias"), r"missing: decoder_norm\.bias"),
        ("decoder", lambda s: s.update(stranger=torch.ones(1)), "unexpected: stranger"),
        ("statistics", lambda s: s.pop("var"), "missing: var"),
        ("statistics", lambda s: s.update(var=torch.ones(8, 4, 4)), r"expected \[9 8\] or \[8\]"),
        ("statistics", lambda s: s.update(var=None), "expected mean or var, got None"),
    ],
)
def test_what_does_not_fit_is_listed_with_its_file(paths, part, change, said):
    write_body(paths["body"])
    state = {name: x if x is None else x.clone() for name, x in read_tensors(paths[part]).items()}
    change(state)
    torch.save(state, paths[part])
    with pytest.raises(ValueError, match=rf"^{paths[part]}: .*{said}"):
        load_published("rae", **paths)


def test_a_wrong_prefix_is_refused(paths):
    body = write_body(paths["body"])
    state = published_body(body, ditdh_map(asdict(body.config)))
    torch.save({f"net.{name}": x for name, x in state.items()}, paths["body"])
    with pytest.raises(ValueError, match=r"body\.pt: .*missing: blocks\.0"):
        load_published("rae", **paths)


def test_a_decoder_of_other_latents_is_refused(paths, tmp_path):
    write_body(paths["body"], channels=12)
    with pytest.raises(ValueError, match="channels=8 as the latents have, .* channels=12"):
        load_published("rae", **paths)


@pytest.mark.parametrize("part", ["body", "decoder", "statistics"])
def test_bad_files_are_named(paths, part):
    write_body(paths["body"])
    path = paths[part]
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=f"^{path}: .*cut short"):
        load_published("rae", **paths)
    torch.save({"ema": {"w": torch.ones(1)}, "args": argparse.Namespace(lr=1.0)}, path)
    with pytest.raises(ValueError, match=rf"^{path}: the pickle asks for argparse\.Namespace"):
        load_published("rae", **paths)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"no file at {path}"):
        load_published("rae", **paths)


def test_a_file_above_the_cap_is_refused(paths):
    write_body(paths["body"])
    with pytest.raises(ValueError, match=f"^{paths['body']}: expected at most 1000 bytes"):
        load_published("rae", **paths, max_bytes=1000)


def test_an_encoder_of_no_known_kind_is_refused(paths):
    write_body(paths["body"])
    write_json({"model_type": "bert"}, paths["encoder"] / "config.json")
    with pytest.raises(ValueError, match="expected model_type siglip or .* got 'bert'"):
        load_published("rae", **paths)
