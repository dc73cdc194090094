"""The head: what conditions it, what it sees, and what it is without."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from tests.dit.small import WIDE, awake, inputs
from unimm.dit import DDT


@pytest.fixture
def ddt():
    return awake(DDT(WIDE))


def test_the_head_is_conditioned_by_the_base_alone_token_by_token(ddt):
    conditions = []
    for block in ddt.blocks:
        block.register_forward_hook(lambda module, given, out: conditions.append(given[1]))
    ends = []
    ddt.blocks[1].register_forward_hook(lambda module, given, out: ends.append(out))
    x, t, labels = inputs(WIDE)
    ddt(x, t, labels)
    time = ddt.time(t, ddt.frequencies)[:, None]
    c = F.silu(F.silu(time + ddt.labels.table.weight[labels][:, None]))
    s = F.silu(ddt.bridge(F.silu(ends[0] + time)))
    for got, wanted in zip(conditions, [c, c, s, s], strict=True):
        torch.testing.assert_close(got, wanted)


def test_a_plain_bridge_leaves_the_time_out():
    plain = awake(DDT(dataclasses.replace(WIDE, bridge="plain")))
    x, t, labels = inputs(WIDE)
    seen = []
    plain.bridge.register_forward_hook(lambda module, given, out: seen.append(given[0]))
    plain.blocks[1].register_forward_hook(lambda module, given, out: seen.append(F.silu(out)))
    plain(x, t, labels)
    torch.testing.assert_close(seen[1], seen[0])


def test_the_head_sees_the_latents_without_their_places(ddt):
    seen = []
    ddt.blocks[2].register_forward_hook(lambda module, given, out: seen.append(given[0]))
    x, t, labels = inputs(WIDE)
    ddt(x, t, labels)
    torch.testing.assert_close(seen[0], ddt.head_embed(x))


def test_a_head_as_wide_as_its_base_has_no_bridge():
    same = DDT(dataclasses.replace(WIDE, head_width=32))
    assert not [name for name in same.state_dict() if name.startswith("bridge")]
    assert "bridge.weight" in DDT(WIDE).state_dict()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"head_depth": 0}, "dit.head_depth: expected a positive number, got 0"),
        ({"head_width": 46}, r"dit.head_width: expected a multiple of 4 \* heads = 16, got 46"),
        ({"bridge": "times"}, "dit.bridge: expected one of time, plain, got 'times'; did you mean 'time'"),
        ({"condition_width": 12}, "dit.condition_width: expected the width 32 .* set bridge to 'plain'"),
    ],
)
def test_the_config_refuses_what_cannot_be_built(change, said):
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(WIDE, **change)


def test_a_fresh_network_starts_as_published():
    fresh = DDT(dataclasses.replace(WIDE, width=64, condition_width=64))
    zero = {name for name, p in fresh.named_parameters() if not p.any()}
    assert {"final.out.weight", "final.out.bias", "blocks.3.modulation.weight", "embed.bias"} <= zero
    assert not {"bridge.bias", "blocks.0.attention.qkv.bias"} & zero
    for linear in (fresh.bridge, fresh.blocks[0].attention.qkv, fresh.blocks[3].mlp.out):
        bound = linear.in_features**-0.5
        assert 0.9 * bound < linear.weight.abs().max() <= bound
    assert 0.018 < fresh.time.out.weight.std() < 0.022
    assert 0.015 < fresh.labels.table.weight.std() < 0.025
