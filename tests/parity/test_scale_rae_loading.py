"""A recorded model, written as an official folder and loaded from it, draws what was recorded."""

from __future__ import annotations

import json
import re

import pytest
import torch
from safetensors.torch import load_file

from tests.model.published.official import Sizes, make_official, model_config, random_codec, random_model
from unimm.flow.grids import scale_rae_transitions
from unimm.flow.solver import integrate_transitions
from unimm.llm.splice import gather
from unimm.model import UniMM
from unimm.model.published.converting import convert
from unimm.parts import Batch, Run

SIZE = re.compile("vocab_size|hidden_size|intermediate_size|num_.*|diffusion_model_.*")
TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(params=[1, 3], ids=["one file", "shards"])
def loaded(request, recorded, tmp_path):
    """The recorded parameters in a folder with the recorded config; tower and decoder are random."""
    said, theirs = json.loads(recorded.metadata["config"]), recorded.under("param.")
    tokens, channels = theirs["model.latent_queries"].shape[0], said["diffusion_model_channels"]
    untold = dict.fromkeys((name for name in model_config(Sizes()) if SIZE.fullmatch(name)), "absent")
    values = untold | said | {"diffusion_base_dim": int(recorded.metadata["base_dim"])}
    codec = random_codec(tokens, channels)
    made = make_official(tmp_path, codec, request.param, theirs, values, fast=True)
    return UniMM.from_pretrained(made.folder, **made.parts, profile="reference")


@pytest.mark.parity("scale_rae/e2e_tiny")
@torch.no_grad()
def test_a_loaded_model_intends_and_draws_as_recorded(recorded, loaded):
    tensors, num = recorded.tensors, loaded.config.settings.num_queries
    ids = torch.cat([tensors["t2i.in.prompt_ids"][0], tensors["t2i.out.token_ids"]])
    row = torch.cat([ids, ids.new_zeros(num)])[None]
    mask = torch.ones_like(row, dtype=torch.bool)
    runs = (Run(0, len(ids), num),)
    states = gather(loaded(Batch(row, row, mask, query_runs=runs)), runs)
    conditions = loaded.connector(states)
    torch.testing.assert_close(conditions, tensors["t2i.mid.dit_condition"], **TOLERANCE)

    noise = tensors["t2i.in.noise_bchw"].flatten(2).mT
    alpha = loaded.config.settings.alpha
    assert alpha == pytest.approx(float(recorded.metadata["alpha"]))
    pairs = scale_rae_transitions(50, alpha)
    drawn = integrate_transitions(lambda x, t: loaded.velocity(x, t, conditions), noise, pairs)
    torch.testing.assert_close(drawn[0], tensors["t2i.out.latents"], **TOLERANCE)


@pytest.mark.parity("scale_rae/e2e_tiny")
def test_every_recorded_parameter_is_in_the_loaded_model(recorded, loaded):
    theirs = recorded.under("param.")
    if loaded.config.settings.llm.tied_embeddings:
        assert torch.equal(theirs.pop("lm_head.weight"), theirs["model.embed_tokens.weight"])
    rooms = (loaded.llm, loaded.queries, loaded.projector, loaded.connector, loaded.dit)
    constants = sum(x.numel() for name, x in theirs.items() if "pos_embed" in name or "freqs_" in name)
    held = sum(p.numel() for room in rooms for p in room.parameters())
    assert held == sum(x.numel() for x in theirs.values()) - constants
    assert torch.equal(loaded.queries.weight, theirs["model.latent_queries"])
    head = theirs.get("lm_head.weight", theirs["model.embed_tokens.weight"])
    assert torch.equal(loaded.llm.lm_head.weight, head)


def with_head(recorded, root):
    """Return a published model whose transformer is the recorded one with a head, of either form."""
    body, said = recorded.under("param."), recorded.metadata
    width, channels = body["x_embedder.proj.weight"].shape[:2]
    condition, tokens = body["t_embedder.mlp.2.weight"].shape[0], body["pos_embed"].shape[1]
    sizes = Sizes(tokens=tokens, channels=channels, seen=channels, condition=condition)
    state = {n: x for n, x in random_model(sizes).items() if not n.startswith("diff_head.model.")}
    state |= {f"diff_head.model.{name}": x for name, x in body.items()}
    names = {"hidden_size": "hidden_size", "depth": "depth", "num_heads": "heads"}
    fields = {"diffusion_model_heads": "absent"} | {
        f"diffusion_model_{ours}": json.loads(said[theirs])
        for theirs, ours in names.items()
        if theirs in said
    }
    if depth := re.search(r"encoder_depth=(\d+)", said["class"]):
        fields |= {"vision_loss": "ddt-loss", "ddt_encoder_depth": int(depth[1])}
        fields["diffusion_model_hidden_size"] = width
    return make_official(root, random_codec(tokens, channels), 2, state, model_config(sizes) | fields)


@pytest.mark.parity("scale_rae/ddt_tiny_wide", "scale_rae/dit_tiny_useddt")
@torch.no_grad()
def test_a_transformer_with_a_head_is_loaded_and_comes_back(recorded, tmp_path):
    made = with_head(recorded, tmp_path / "from")
    loaded = UniMM.from_pretrained(made.folder, **made.parts)
    assert loaded.config.settings.body == "ddt"
    x = recorded.tensors["in.x"].flatten(2).mT
    v = loaded.velocity(x, recorded.tensors["in.t"], recorded.tensors["in.y"])
    torch.testing.assert_close(v, recorded.tensors["out.v"].flatten(2).mT, **TOLERANCE)

    convert(made.folder, tmp_path / "ours", parts=made.parts)
    convert(tmp_path / "ours", tmp_path / "theirs")
    found = load_file(tmp_path / "theirs" / "model.safetensors")
    assert found.keys() == made.state.keys()
    assert all(torch.equal(found[name], x) for name, x in made.state.items())
    assert json.loads((tmp_path / "theirs" / "config.json").read_text()) == made.values
