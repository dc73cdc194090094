"""LightningDiT's files on disk become a generator of latents; time and sign are turned."""

from __future__ import annotations

import pytest
import torch

from tests.generator.published.disk import STEPS, WRITERS
from tests.parity.bodies import TOLERANCE, inputs, settings, tokens
from unimm.files import read_tensors
from unimm.flow import channel_guided, clean_grid, euler
from unimm.generator import ClassGenerator
from unimm.generator.published import load_published, save_published
from unimm.request import noise_of

FILES = pytest.mark.parity("lightningdit/lightningdit_tiny_*")
LATENT = {**STEPS, "output_type": "latent"}


@pytest.fixture
def paths(recorded, tmp_path):
    """The recorded body and statistics as released."""
    said = settings(recorded)
    torch.save(recorded.under("state."), tmp_path / "body.pt")
    shape = 1, said["in_channels"], 1, 1
    torch.save({"mean": torch.randn(shape), "std": torch.rand(shape) + 0.5}, tmp_path / "latents_stats.pt")
    known = {} if said["use_rope"] or said["use_qknorm"] else {"heads": said["num_heads"]}
    return {"body": tmp_path / "body.pt", "statistics": tmp_path / "latents_stats.pt", **known}


@FILES
@pytest.mark.parametrize("written", WRITERS)
@torch.no_grad()
def test_a_recorded_body_says_what_was_recorded(recorded, paths, written):
    WRITERS[written](recorded.under("state."), paths["body"])
    model = load_published("lightningdit", **paths)
    x, t, y = inputs(recorded)
    null = y == settings(recorded)["num_classes"]
    v = model.velocity(x, 1 - t, y.masked_fill(null, 0), null)
    torch.testing.assert_close(v, -tokens(recorded.tensors["out.velocity"]), **TOLERANCE)


@FILES
@torch.no_grad()
def test_it_draws_as_published(recorded, paths):
    model = load_published("lightningdit", **paths)
    drawn = model.generate([0, 1], **LATENT).latents
    config = model.settings.dit
    labels = torch.tensor([0, 1])
    velocities = (
        lambda x, t: model.dit(x, t, labels),
        lambda x, t: model.dit(x, t, labels, torch.ones(2, dtype=torch.bool)),
    )
    noise = noise_of([3, 4], config.grid**2, config.channels)
    guided = channel_guided(*velocities, 6.7, (0.0, 0.89), 3)
    torch.testing.assert_close(drawn, euler(guided, noise, clean_grid(2, 1 / 0.3)))
    assert model.settings.sampling.num_inference_steps == 249


@FILES
def test_vavae_gets_raw_latents_and_is_named_where_pictures_are_asked_for(recorded, paths):
    model = load_published("lightningdit", **paths)
    drawn = model.generate(0, **LATENT).latents
    told = read_tensors(paths["statistics"])
    raw, grid = model.space.raw_maps(drawn), model.settings.dit.grid
    torch.testing.assert_close(raw, drawn.mT.unflatten(2, (grid, grid)) * told["std"] + told["mean"])
    torch.testing.assert_close(model.space.latents_of(raw), drawn)
    with pytest.raises(ValueError, match="latents: VA-VAE is not read here; draw with output_type='latent'"):
        model.generate(0, **STEPS)
    with pytest.raises(ValueError, match="pixels: VA-VAE is not read here"):
        model.encode_image(torch.zeros(1, 3, 64, 64))


@FILES
def test_it_is_written_as_it_was_and_in_our_own_format(recorded, paths, tmp_path):
    model = load_published("lightningdit", **paths)
    save_published("lightningdit", model, tmp_path / "out")
    written = {"body": "lightningdit.pt", "statistics": "latents_stats.pt"}
    for part, name in written.items():
        before, after = read_tensors(paths[part]), read_tensors(tmp_path / "out" / name)
        assert after.keys() == before.keys()
        for key, x in before.items():
            torch.testing.assert_close(after[key], x, rtol=0, atol=2e-6)
    model.save_pretrained(tmp_path / "ours")
    again = ClassGenerator.from_pretrained(tmp_path / "ours")
    assert torch.equal(again.generate(1, **LATENT).latents, model.generate(1, **LATENT).latents)


@FILES
def test_what_does_not_fit_is_listed_with_its_file(recorded, paths):
    state = recorded.under("state.")
    torch.save({**state, "stranger": torch.ones(1)}, paths["body"])
    with pytest.raises(ValueError, match=rf"^{paths['body']}: .*unexpected: stranger"):
        load_published("lightningdit", **paths)
    torch.save({f"net.{name}": x for name, x in state.items()}, paths["body"])
    with pytest.raises(ValueError, match=rf"^{paths['body']}: .*missing: .*x_embedder"):
        load_published("lightningdit", **paths)
    torch.save({name: x for name, x in state.items() if name != "blocks.1.attn.proj.bias"}, paths["body"])
    with pytest.raises(ValueError, match=r"missing: blocks\.1\.attn\.proj\.bias"):
        load_published("lightningdit", **paths)
    torch.save(state, paths["body"])
    torch.save({"mean": torch.zeros(1, 3, 1, 1), "std": torch.ones(1, 3, 1, 1)}, paths["statistics"])
    with pytest.raises(ValueError, match=rf"^{paths['statistics']}: mean: expected .*got \(3,\)"):
        load_published("lightningdit", **paths)


@pytest.mark.parity("rae/lightningdit_rae_variant_tiny")
def test_raes_variant_is_sent_on(recorded, tmp_path):
    torch.save(recorded.under("state."), tmp_path / "body.pt")
    with pytest.raises(ValueError, match="is it RAE's variant. Load it as 'rae'"):
        load_published("lightningdit", body=tmp_path / "body.pt", statistics=tmp_path / "none.pt")
