"""MM-DiT against numbers recorded from diffusers' SD3Transformer2DModel, and its names both ways."""

from __future__ import annotations

import pytest
import torch

from unimm.dit.mmdit import MMDiT, MMDiTConfig, TextConditions
from unimm.dit.positions import CroppedPositions
from unimm.flow import euler, guided
from unimm.flow.grids import diffusers_grid
from unimm.weights import load_strictly
from unimm.weights.sd3 import diffusers_sd3
from unimm.weights.sd3_config import mmdit_config

FILES = pytest.mark.parity("sd3/sd3_transformer_*")


def close(ours, theirs, tolerance=2e-5):
    """Compare with an error relative to the largest number, as the README of the set asks."""
    scale = theirs.abs().max().item()
    torch.testing.assert_close(ours.to(theirs.dtype), theirs, atol=tolerance * scale, rtol=0)


def tokens(maps):
    """Return [B N C] of [B C rows columns]."""
    return maps.flatten(2).mT


class Published:
    """The recorded network as ours, with its inputs."""

    def __init__(self, recorded):
        self.recorded, get = recorded, recorded.tensors.__getitem__
        self.sizes = mmdit_config(recorded.value["config"])
        self.map = diffusers_sd3(self.sizes)
        parameters, tables = self.map.read(recorded.under("w."))
        assert not tables
        self.dit = MMDiT(MMDiTConfig(**self.sizes)).eval()
        load_strictly(self.dit, parameters)
        self.x = tokens(get("in.hidden_states"))
        self.size = tuple(get("in.hidden_states").shape[2:])
        self.t = get("in.timestep") / 1000
        self.text = TextConditions(get("in.encoder_hidden_states"), get("in.pooled_projections"))

    def __call__(self, **options):
        return self.dit(self.x, self.t, self.text, size=self.size, **options)

    def recording(self, *names):
        """Return a dict that the outputs of these modules go into."""
        outputs = {}
        for name in names:
            module = self.dit.get_submodule(name)
            module.register_forward_hook(lambda m, i, out, name=name: outputs.update({name: out}))
        return outputs


@FILES
def test_the_velocity(recorded):
    published = Published(recorded)
    with torch.no_grad():
        v = published()
    close(v, tokens(recorded.tensors["out.sample"]))
    close(v, tokens(recorded.tensors["out.sample_f64"]))


@FILES
def test_the_velocity_with_a_block_left_out(recorded):
    published = Published(recorded)
    skips = recorded.under("out.sample_skip_layer_")
    assert skips
    for number, sample in skips.items():
        with torch.no_grad():
            v = published(skip_layers=[int(number)])
        close(v, tokens(sample))


@FILES
def test_what_is_between(recorded):
    published, acts = Published(recorded), recorded.under("act.")
    dit, config = published.dit, published.dit.config
    outputs = published.recording(
        "embed", "context", "final.out", *(f"blocks.{i}" for i in range(config.depth))
    )
    with torch.no_grad():
        _, hidden = dit.features(
            published.x, published.t, published.text, range(1, config.depth + 1), size=published.size
        )
        temb = dit.time(published.t, dit.frequencies) + dit.pooled(published.text.pooled)
        rows, columns = (side // config.patch_size for side in published.size)
        placed = outputs["embed"] + dit.positions(rows, columns)
    close(placed, acts.pop("pos_embed"))
    close(temb, acts.pop("temb"))
    close(outputs["context"], acts.pop("context_embedder"))
    shift, scale = dit.final.modulation(torch.nn.functional.silu(temb))[:, None].chunk(2, dim=-1)
    close(dit.final.norm(hidden[-1]) * (1 + scale) + shift, acts.pop("norm_out"))
    for name, act in acts.items():
        block, stream = name.removeprefix("block").split(".")
        ours = hidden[int(block)] if stream == "image" else outputs[f"blocks.{block}"][1]
        close(ours, act)


@FILES
def test_gradients(recorded):
    published, wanted = Published(recorded), recorded.under("grad.")
    published.x = published.x.requires_grad_()
    (published() * tokens(recorded.tensors["in.cotangent"])).sum().backward()
    close(published.x.grad, tokens(wanted.pop("hidden_states")))
    # The same map that reads parameters reads their gradients: it permutes, splits and joins.
    ours = {name: p.grad for name, p in published.dit.named_parameters()}
    ours |= {f"positions.{axis}": getattr(published.dit.positions, axis) for axis in ("columns", "rows")}
    theirs = published.map.write(ours)
    assert wanted
    for name, gradient in wanted.items():
        close(theirs[name.replace("block", "transformer_blocks.").replace("to_q", "attn.to_q")], gradient)


@pytest.mark.parity("sd3/sd3_transformer_qknorm")
def test_the_guided_loop(recorded):
    published, loop = Published(recorded), recorded.under("loop.")
    text = published.text
    batch = len(loop["latents_in"])
    positive = TextConditions(text.sequence[:batch], text.pooled[:batch])
    negative = TextConditions(loop["neg_context"], loop["neg_pooled"])
    velocity = guided(
        lambda x, t: published.dit(x, t, positive, size=published.size),
        lambda x, t: published.dit(x, t, negative, size=published.size),
        recorded.value["cfg_scale_in_loop"],
    )
    sigmas = loop["sigmas"].double()
    # The last time before 0 is 1/1000 shifted twice: that tells the shift.
    alpha = (sigmas[-2] / (1 - sigmas[-2]) * 999).sqrt().item()
    torch.testing.assert_close(diffusers_grid(len(sigmas) - 1, alpha), sigmas, atol=1e-6, rtol=0)
    states = []
    euler(velocity, tokens(loop["latents_in"]), loop["sigmas"], lambda i, x: states.append(x))
    assert len(states) == len(loop["timesteps"])
    for i, state in enumerate(states):
        close(state, tokens(loop[f"latents_after_step{i}"]))


@FILES
def test_the_recorded_position_table_is_the_stretched_rule(recorded):
    config = Published(recorded).dit.config
    positions = CroppedPositions(config.width, config.table, config.side, config.side, "stretched")
    ours = positions(config.table, config.table)
    close(ours, recorded.tensors["w.pos_embed.pos_embed"][0], 1e-6)


@FILES
def test_names_read_and_written_back_are_the_published_ones(recorded):
    published, theirs = Published(recorded), recorded.under("w.")
    written = published.map.write(published.dit.state_dict())
    assert written.keys() == theirs.keys()
    assert all(torch.equal(written[name], theirs[name]) for name in theirs)
