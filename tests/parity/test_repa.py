"""SiT with projectors, the losses and the samplers of REPA against recorded numbers."""

from __future__ import annotations

import json
import re

import pytest
import torch

from unimm.alignment import Projectors, alignment_loss
from unimm.dit.sit import SiT, SiTConfig
from unimm.flow import PATHS, clean_grid, euler, euler_maruyama, guided, heun, heun_euler_last, path_loss
from unimm.flow.grids import sde_grid
from unimm.weights import load_strictly
from unimm.weights.sit import PROJECTORS, read_sit, sit_map, write_sit

RECORDED = pytest.mark.parity("repa/sit_repa_tiny")
TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}
SCALE, HIGHEST = 1.8, 0.7  # guidance of the recorded samples, and the time up to which it acts


def tokens(maps):
    """Return [B N C] of [B C rows columns]."""
    return maps.flatten(2).mT


def label_table(recorded, rows):
    """Return the whole label table, zeros but for the rows recorded."""
    config = json.loads(recorded.metadata["config"])
    table = torch.zeros(config["num_classes"] + config["use_cfg"], rows.shape[1])
    table[recorded.tensors["in.label_table_rows"]] = rows
    return table


class Repa:
    """The recorded network, its projectors and its inputs."""

    def __init__(self, recorded):
        self.config = json.loads(recorded.metadata["config"])
        self.get = recorded.tensors.__getitem__
        state = recorded.under("state.")
        state["y_embedder.embedding_table.weight"] = label_table(recorded, self.get("in.label_table_values"))
        self.state, self.file = state, read_sit(state, "repa", heads=self.config["num_heads"])
        self.sit = SiT(SiTConfig(**self.file.sizes)).eval()
        load_strictly(self.sit, self.file.parameters)
        self.projectors = Projectors(
            self.config["hidden_size"], self.config["z_dims"], self.config["projector_dim"]
        )
        load_strictly(self.projectors, self.file.projectors)

    def labels(self, name):
        """Return labels and which of them are dropped; recorded ones name the null label by its row."""
        y, null = self.get(name), self.config["num_classes"]
        return y.where(y < null, 0), y >= null

    def forward(self, x, t, y, dropped):
        v, [hidden] = self.sit.features(x, t, y, [self.config["encoder_depth"]], dropped)
        return v, self.projectors(hidden)

    def losses(self, path, weighting):
        """Return (denoising [B], alignment [B]) for the recorded draws."""
        drawn, path = self.get(f"in.rng.{weighting}").flatten(), PATHS[path]
        t = {"uniform": lambda u: u, "lognormal": path.lognormal_time}[weighting](drawn)
        z = []

        def velocity(x_t, t):
            v, projected = self.forward(x_t, t, *self.labels("in.y"))
            z.extend(projected)
            return v

        noise = tokens(self.get(f"in.noise.{weighting}"))
        denoising = path_loss(velocity, tokens(self.get("in.x")), noise, t, path)
        return denoising, alignment_loss(z, [self.get(f"in.target_z{i}") for i in range(len(z))])

    def velocity(self, y, dropped=None):
        """Return a float64 velocity around the float32 network."""
        return lambda x, t: self.sit(x.float(), t.float(), y, dropped).double()


@pytest.fixture
def repa(recorded):
    return Repa(recorded)


@RECORDED
def test_velocity_and_projected_states(recorded, repa):
    x, t = tokens(recorded.tensors["in.x"]), recorded.tensors["in.t"]
    with torch.no_grad():
        embedded = repa.sit.time(t, repa.sit.frequencies)
        v, z = repa.forward(x, t, *repa.labels("in.y"))
    torch.testing.assert_close(embedded, recorded.tensors["out.t_embed"], **TOLERANCE)
    torch.testing.assert_close(v, tokens(recorded.tensors["out.velocity"]), **TOLERANCE)
    assert len(z) == len(repa.config["z_dims"])
    for i, projected in enumerate(z):
        torch.testing.assert_close(projected, recorded.tensors[f"out.z{i}"], **TOLERANCE)


@RECORDED
def test_losses_on_each_path_with_each_density(recorded, repa):
    wanted = recorded.under("out.denoise.")
    assert wanted
    for name, denoised in wanted.items():
        with torch.no_grad():
            denoising, alignment = repa.losses(*name.split("."))
        torch.testing.assert_close(denoising, denoised, **TOLERANCE)
        torch.testing.assert_close(alignment.mean(), recorded.tensors[f"out.proj.{name}"], **TOLERANCE)


@RECORDED
def test_gradients_of_both_losses(recorded, repa):
    denoising, alignment = repa.losses("linear", "uniform")
    (denoising.mean() + repa.config["proj_coeff_in_grad"] * alignment.mean()).backward()
    theirs = recorded.under("grad.")
    [rows] = recorded.under("in.grad_label_rows").values()
    theirs |= {
        "pos_embed": repa.state["pos_embed"],
        "y_embedder.embedding_table.weight": label_table(recorded, rows),
    }
    wanted = sit_map(repa.file.sizes).read(theirs)[0]
    ours = {name: p.grad for name, p in repa.sit.named_parameters()}
    torch.testing.assert_close(ours, wanted, **TOLERANCE)
    ours = {name: p.grad for name, p in repa.projectors.named_parameters()}
    torch.testing.assert_close(ours, PROJECTORS.read(theirs, "projectors.")[0], **TOLERANCE)


def draw(repa, sampler, steps, velocity, conditional):
    """Return the sample of one recorded sampler.

    REPA's Heun decides by the time at which a step begins whether its second evaluation is guided. So the
    steps that begin above the interval are taken first, without guidance.
    """
    x = tokens(repa.get("in.latents")).double()
    grid = clean_grid(steps)
    if sampler == "euler":
        return euler(velocity, x, grid)
    if sampler == "heun":
        above = int((grid > HIGHEST).sum())
        return heun_euler_last(velocity, heun(conditional, x, grid[: above + 1]), grid[above:])
    noises = [tokens(noise) for noise in repa.get("in.em_noise_f64")]
    return euler_maruyama(velocity, x, sde_grid(steps), draw=lambda i, x: noises[i])


@RECORDED
@pytest.mark.parametrize("sampler", ["euler", "heun", "em"])
def test_samples(recorded, repa, sampler):
    wanted = recorded.under(f"out.sample.{sampler}.")
    assert wanted
    y, dropped = repa.labels("in.y_sample")
    conditional, null = repa.velocity(y, dropped), repa.velocity(y, torch.ones_like(dropped))
    velocities = {"plain": conditional, "cfg": guided(conditional, null, SCALE, (0.0, HIGHEST))}
    for name, sample in wanted.items():
        steps, kind = re.fullmatch(r"n(\d+)\.(\w+)", name).groups()
        with torch.no_grad():
            ours = draw(repa, sampler, int(steps), velocities[kind], conditional)
        assert ours.dtype == torch.float64
        torch.testing.assert_close(ours, tokens(sample), **TOLERANCE)


@RECORDED
def test_names_read_and_written_back_are_the_published_ones(repa):
    written = write_sit(repa.file)
    assert written.keys() == repa.state.keys()
    for name, x in repa.state.items():
        # The position table is written as we compute it.
        torch.testing.assert_close(written[name], x, rtol=0, atol=1e-6 if name == "pos_embed" else 0)
