"""A recorded model, written as an official folder and loaded from it, draws what was recorded."""

from __future__ import annotations

import json
import re

import pytest
import torch

from tests.model.published.official import Sizes, make_official, model_config, random_codec
from unimm.flow.grids import scale_rae_transitions
from unimm.flow.solver import integrate_transitions
from unimm.llm.splice import gather
from unimm.model import UniMM
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
    made = make_official(tmp_path, codec, request.param, theirs, values)
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
    rooms = (loaded.llm, loaded.queries, loaded.projector, loaded.connector, loaded.dit)
    constants = sum(x.numel() for name, x in theirs.items() if "pos_embed" in name or "freqs_" in name)
    held = sum(p.numel() for room in rooms for p in room.parameters())
    assert held == sum(x.numel() for x in theirs.values()) - constants
    assert torch.equal(loaded.queries.weight, theirs["model.latent_queries"])
    assert torch.equal(loaded.llm.lm_head.weight, theirs["lm_head.weight"])
