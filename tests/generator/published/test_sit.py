"""Files of REPA, SiT and DiT on disk become generators: the right path, direction of time and output."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.generator.published.disk import STEPS, WRITERS, shaken, write_vae
from tests.parity.test_repa import TOLERANCE, Repa
from unimm.dit.sit import SiT, SiTConfig
from unimm.files import read_tensors
from unimm.flow.ddpm import chain_ratios, chain_times
from unimm.generator import ClassGenerator
from unimm.generator.published import load_published, save_published
from unimm.latents.vae import SD3VAEConfig, SDVAEConfig
from unimm.weights.sit import SitFile, write_sit

SIZES = {
    "channels": 4, "width": 24, "depth": 2, "heads": 2, "condition_width": 24, "grid": 4, "num_classes": 5,
    "mlp_width": 96,
}  # fmt: skip
LAYOUTS = {"repa": {}, "sit": {"learn_sigma": True}, "dit": {"learn_sigma": True, "time_scale": 999.0}}


@pytest.fixture
def paths(tmp_path):
    write_vae(tmp_path / "vae", SDVAEConfig, SIZES["channels"])
    return {"body": tmp_path / "body.pt", "vae": tmp_path / "vae", "heads": 2}


def write_body(path, layout):
    """Write a file of a layout; return the network as its own code runs it."""
    config = SiTConfig(**SIZES | LAYOUTS[layout])
    raw = shaken(SiT(config))
    torch.save(write_sit(SitFile(dataclasses.asdict(config), dict(raw.state_dict()), {})), path)
    return raw


def inputs():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 16, 4, generator=generator), torch.tensor([4, 0])


@pytest.mark.parity("repa/sit_repa_tiny")
@pytest.mark.parametrize("written", WRITERS)
@torch.no_grad()
def test_repas_recorded_network_says_what_was_recorded_and_draws(recorded, written, tmp_path):
    repa = Repa(recorded)
    WRITERS[written](repa.state, tmp_path / "body.pt")
    write_vae(tmp_path / "vae", SDVAEConfig, repa.config["in_channels"])
    model = load_published(
        "repa", body=tmp_path / "body.pt", vae=tmp_path / "vae", heads=repa.config["num_heads"]
    )
    x, t = recorded.tensors["in.x"].flatten(2).mT, recorded.tensors["in.t"]
    v = model.velocity(x, t, *repa.labels("in.y"))
    torch.testing.assert_close(v, recorded.tensors["out.velocity"].flatten(2).mT, **TOLERANCE)
    drawn = model.generate([0, 1], **STEPS).images
    assert drawn.shape == (2, 3, *[2 * repa.config["input_size"]] * 2)
    assert not torch.equal(drawn[0], drawn[1])


def of_repa(raw, x, t, labels):
    return raw(x, t, labels)


def of_sit(raw, x, t, labels):
    return -raw(x, 1 - t, labels)


def of_dit(raw, x, t, labels):
    """At the chain's own steps: the point of equal noise, and v = (e - x_t) / (1 - t)."""
    steps = torch.stack([(chain_times() - time).abs().argmin() for time in t])
    ratios = chain_ratios()[steps].float()[:, None, None]
    alpha = 1 / (1 + ratios)
    noise = raw(x / alpha / (1 + ratios**2).sqrt(), steps / 999, labels)
    return (noise - x) / alpha


@pytest.mark.parametrize(("layout", "expected"), [("repa", of_repa), ("sit", of_sit), ("dit", of_dit)])
@torch.no_grad()
def test_a_velocity_is_what_its_projects_network_means(paths, layout, expected):
    raw = write_body(paths["body"], layout)
    model = load_published(layout, **paths)
    x, labels = inputs()
    t = chain_times()[[650, 120]].float()
    torch.testing.assert_close(
        model.velocity(x, t, labels), expected(raw, x, t, labels), atol=1e-3, rtol=1e-3
    )
    [*_, v], hidden = model.features(x, t, labels, [1])
    torch.testing.assert_close(v, model.velocity(x, t, labels)[-1])
    assert [h.shape for h in hidden] == [(2, 4, 24)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pictures_of_two_labels(paths, layout, tmp_path):
    write_body(paths["body"], layout)
    model = load_published(layout, **paths)
    assert not model.training
    drawn = model.generate([0, 3], **STEPS).images
    assert drawn.shape == (2, 3, 8, 8)
    assert torch.isfinite(drawn).all()
    model.save_pretrained(tmp_path / "ours")
    again = ClassGenerator.from_pretrained(tmp_path / "ours")
    assert again.settings == model.settings
    assert torch.equal(again.generate([0, 3], **STEPS).images, drawn)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_published_sampling_is_the_default(paths, layout):
    write_body(paths["body"], layout)
    model = load_published(layout, **paths)
    sampling = model.settings.sampling
    assert (sampling.solver, sampling.grid, sampling.num_inference_steps) == ("euler_maruyama", "sde", 250)
    told = sampling.guidance_scale, sampling.guidance_interval, sampling.guidance_channels
    assert told == ((1.8, (0.0, 0.7), None) if layout == "repa" else (1.5, (0.0, 1.0), 3))
    assert model.settings.alpha == 1.0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_written_is_what_was_read(paths, layout, tmp_path):
    write_body(paths["body"], layout)
    model = load_published(layout, **paths)
    save_published(layout, model, tmp_path / "out")
    before, after = read_tensors(paths["body"]), read_tensors(tmp_path / "out" / "last.pt")
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], x) for name, x in before.items())
    for other in LAYOUTS.keys() - {layout}:
        with pytest.raises(ValueError, match=f"{other}: expected a body of kind 'sit' with"):
            save_published(other, model, tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("blocks.1.attn.qkv.bias"), r"missing: blocks\.1\.attn\.qkv\.bias"),
        (lambda s: s.update(stranger=torch.ones(1)), "unexpected: stranger"),
        (lambda s: s["pos_embed"].add_(1), "differing: positions"),
        (lambda s: s.update({f"net.{n}": s.pop(n) for n in list(s)}), r"missing: .*x_embedder\.proj"),
    ],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_does_not_fit_is_listed_with_its_file(paths, layout, change, said):
    write_body(paths["body"], layout)
    state = {name: x.clone() for name, x in read_tensors(paths["body"]).items()}
    change(state)
    torch.save(state, paths["body"])
    with pytest.raises(ValueError, match=rf"^{paths['body']}: .*{said}"):
        load_published(layout, **paths)


def test_a_file_of_sit_is_not_taken_for_repas(paths):
    write_body(paths["body"], "sit")
    with pytest.raises(ValueError, match="is it 'sit' or 'dit'"):
        load_published("repa", **paths)


def test_a_vae_of_other_channels_is_refused(paths, tmp_path):
    write_body(paths["body"], "repa")
    write_vae(tmp_path / "vae", SD3VAEConfig, 16)
    with pytest.raises(ValueError, match="channels=16 as the latents have, .* channels=4"):
        load_published("repa", **paths)
    with pytest.raises(FileNotFoundError, match="vae: expected config.json in .*elsewhere"):
        load_published("repa", **{**paths, "vae": tmp_path / "elsewhere"})
