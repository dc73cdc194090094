"""What the bodies share: conditions of three kinds, hidden states, checkpointing, sizes, variants."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch

from tests.dit.small import LABELLED, VECTORS, WIDE, awake, inputs
from unimm.dit import DDT, LightningDiT
from unimm.dit.bodies import BODIES, body_classes
from unimm.dit.time import fourier_frequencies

WIDE_VECTORS = dataclasses.replace(WIDE, num_classes=None)
WIDE_PLAIN = dataclasses.replace(WIDE_VECTORS, condition_width=12, bridge="plain")
CASES = [
    (LightningDiT, VECTORS),
    (LightningDiT, LABELLED),
    (DDT, WIDE),
    (DDT, WIDE_VECTORS),
    (DDT, WIDE_PLAIN),
]
VARIANTS = {
    "qk_norm": {"qk_norm": True},
    "layer norm": {"norm": "layer"},
    "gelu": {"mlp": "gelu"},
    "no shift": {"shift": False},
    "no positions": {"positions": False},
    "no rope": {"rope": False},
    "sinusoid": {"time": "sinusoid"},
    "own frequencies": {"num_frequencies": 7},
    "reversed": {"time_reversed": True},
    "sigma": {"learn_sigma": True},
    "patches": {"patch_size": 2},
    "one activation": {"condition_activations": 1},
}
both = pytest.mark.parametrize("kind", ["lightning", "ddt"])


def build(kind, **change):
    config = dataclasses.replace({"lightning": LABELLED, "ddt": WIDE}[kind], **change)
    return awake(body_classes(kind)[1](config)), config


@pytest.mark.parametrize(("body_class", "config"), CASES)
def test_a_fresh_body_predicts_no_velocity(body_class, config):
    x, t, conditions = inputs(config)
    assert torch.equal(body_class(config)(x, t, conditions), torch.zeros_like(x))


@both
@pytest.mark.parametrize("change", VARIANTS.values(), ids=VARIANTS)
def test_each_variant_gives_another_velocity_of_the_shape_of_the_latents(kind, change):
    (plain, config), (body, _) = build(kind), build(kind, **change)
    x, t, labels = inputs(config)
    v = body(x, t, labels)
    assert v.shape == x.shape
    assert v.isfinite().all()
    assert not torch.allclose(v, plain(x, t, labels), atol=1e-3)


@both
@pytest.mark.parametrize("change", VARIANTS.values(), ids=VARIANTS)
def test_every_parameter_of_each_variant_has_a_gradient(kind, change):
    body, config = build(kind, **change)
    x, t, labels = inputs(config)
    dropped = torch.tensor([False, True, False])
    body(x, t, labels, dropped).square().sum().backward()
    assert not [name for name, p in body.named_parameters() if p.grad is None or not p.grad.any()]


def test_a_reversed_network_is_fed_the_other_time():
    (forward, config), (backward, _) = build("lightning"), build("lightning", time_reversed=True)
    x, t, labels = inputs(config)
    torch.testing.assert_close(backward(x, t, labels), forward(x, 1 - t, labels), atol=1e-4, rtol=1e-4)


def test_of_two_outputs_per_channel_the_first_is_the_velocity():
    body, config = build("lightning", learn_sigma=True)
    plain, _ = build("lightning")
    own = body.state_dict()
    with torch.no_grad():
        for name in ("final.out.weight", "final.out.bias"):
            own[name] = own[name][: config.channels]
    plain.load_state_dict(own)
    x, t, labels = inputs(config)
    torch.testing.assert_close(body(x, t, labels), plain(x, t, labels))


@both
def test_without_any_places_the_order_of_tokens_is_not_seen(kind):
    body, config = build(kind, positions=False, rope=False)
    x, t, labels = inputs(config)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        body(x[:, order], t, labels), body(x, t, labels)[:, order], atol=1e-4, rtol=1e-4
    )


def test_without_shifts_a_block_is_one_whose_shifts_are_zero():
    shifted, bare = (
        awake(LightningDiT(dataclasses.replace(VECTORS, shift=shift))) for shift in (True, False)
    )
    own = bare.state_dict()
    for name in [name for name in own if name.startswith("blocks.") and ".modulation." in name]:
        scale1, gate1, scale2, gate2 = own[name].chunk(4)
        none = torch.zeros_like(scale1)
        own[name] = torch.cat([none, scale1, gate1, none, scale2, gate2])
    shifted.load_state_dict(own)
    torch.testing.assert_close(bare(*inputs(VECTORS)), shifted(*inputs(VECTORS)))


@pytest.mark.parametrize(("body_class", "config"), [(LightningDiT, VECTORS), (DDT, WIDE_VECTORS)])
def test_one_vector_for_all_is_the_same_vector_for_each(body_class, config):
    body = awake(body_class(config))
    x, t, conditions = inputs(config)
    one = conditions[:, :1]
    dropped = torch.tensor([True, False, False])
    for absent in (None, dropped):
        each = body(x, t, one.expand(-1, 16, -1), absent)
        torch.testing.assert_close(body(x, t, one, absent), each, atol=1e-5, rtol=1e-5)


@both
def test_a_label_is_the_vector_in_its_row(kind):
    labelled, config = build(kind)
    vectors, _ = build(kind, num_classes=None)
    own = {k: v for k, v in labelled.state_dict().items() if not k.startswith("labels.")}
    table = labelled.labels.table.weight
    vectors.load_state_dict(own | {"null_condition": table[config.num_classes]})
    x, t, labels = inputs(config)
    for absent in (None, torch.tensor([True, False, True])):
        wanted = vectors(x, t, table[labels][:, None], absent)
        torch.testing.assert_close(labelled(x, t, labels, absent), wanted)


@pytest.mark.parametrize(("body_class", "config"), CASES)
def test_hidden_states_are_those_between_the_blocks(body_class, config):
    body = awake(body_class(config))
    x, t, conditions = inputs(config)
    seen = {}
    for i, block in enumerate(body.blocks, 1):
        block.register_forward_hook(lambda module, given, out, i=i: seen.update({i: out}))
    at = [len(body.blocks), 1]
    v, hidden = body.features(x, t, conditions, at)
    assert torch.equal(v, body(x, t, conditions))
    assert len(hidden) == 2
    assert all(torch.equal(h, seen[i]) for h, i in zip(hidden, at, strict=True))
    if body_class is DDT:
        assert [h.shape[-1] for h in hidden] == [config.head_width, config.width]


@both
def test_a_block_that_is_not_there_is_refused(kind):
    body, config = build(kind)
    last = len(body.blocks)
    for wrong in (0, last + 1):
        with pytest.raises(
            ValueError, match=rf"at: expected block numbers from 1 to {last}, got \[{wrong}\]"
        ):
            body.features(*inputs(config), at=[1, wrong])


@both
def test_checkpointing_computes_each_block_twice_and_changes_no_gradient(kind):
    body, config = build(kind)
    x, t, labels = inputs(config)
    passes = []
    for block in body.blocks:
        block.register_forward_pre_hook(lambda *_: passes.append(1))

    def gradients(training):
        body.zero_grad()
        passes.clear()
        body.train(training)
        v, hidden = body.features(x, t, labels, at=[1])
        (v.square().sum() + hidden[0].square().sum()).backward()
        return [p.grad.clone() for p in body.parameters()], len(passes)

    wanted, once = gradients(True)
    body.gradient_checkpointing = True
    got, twice = gradients(True)
    assert (once, twice) == (len(body.blocks), 2 * len(body.blocks))
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
    assert gradients(training=False)[1] == once


@both
def test_only_its_own_grid_is_taken(kind):
    body, config = build(kind)
    x, t, labels = inputs(config)
    assert torch.equal(body(x, t, labels, size=(4, 4)), body(x, t, labels))
    with pytest.raises(ValueError, match=r"size: expected \(4, 4\).*got \(2, 8\); only mmdit"):
        body(x, t, labels, size=(2, 8))


@both
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x, t, y: (x[:, :8], t, y), "x: expected .* with N=16, got 8"),
        (lambda x, t, y: (x, t, y[:1]), r"conditions: expected \[B\] with B=3, got 1"),
        (lambda x, t, y: (x, t, y[:, None]), r"conditions: expected \[B\]"),
        (lambda x, t, y: (x, t, y + 5), "labels: expected 0 to 4"),
    ],
)
def test_the_door_refuses_other_sizes(kind, change, said):
    body, config = build(kind)
    with pytest.raises(ValueError, match=said):
        body(*change(*inputs(config)))


def test_labels_have_no_null_vector_to_hand_out():
    body, config = build("lightning")
    with pytest.raises(ValueError, match="give `dropped` to the network instead"):
        body.drop_conditions(torch.zeros(3, 16, 32), torch.ones(3, dtype=torch.bool))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"norm": "layers"}, "dit.norm: expected one of rms, layer, got 'layers'; did you mean 'layer'"),
        ({"mlp": "relu"}, "dit.mlp: expected one of swiglu, gelu, got 'relu'"),
        ({"time": "sinusoids"}, "dit.time: expected one of fourier, sinusoid"),
        ({"attention": "flashy"}, "dit.attention: .* did you mean 'flash'"),
        ({"patch_size": 3}, "dit.grid: expected a multiple of patch_size = 3, got 4"),
        ({"heads": 3, "rope": False}, "dit.width: expected a multiple of heads = 3, got 32"),
        (
            {"width": 30, "heads": 3, "rope": False},
            "dit.width: expected a multiple of 4 for",
        ),
        (
            {"time": "sinusoid", "num_frequencies": 8},
            "dit.num_frequencies: expected None for",
        ),
    ],
)
def test_the_config_refuses_what_cannot_be_built(change, said):
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(VECTORS, **change)


@pytest.mark.parametrize(("body_class", "config"), CASES)
def test_a_cast_body_casts_conditions_of_another_dtype(body_class, config):
    body = awake(body_class(config)).to(torch.bfloat16)
    x, t, conditions = inputs(config)
    dropped = torch.tensor([False, True, False])
    v = body(x, t, conditions, dropped)
    assert v.dtype == torch.bfloat16
    cast = conditions.bfloat16() if conditions.is_floating_point() else conditions
    assert torch.equal(v, body(x, t, cast, dropped))


def test_autocast_is_left_the_dtype_of_conditions():
    body = awake(LightningDiT(VECTORS))
    x, t, conditions = inputs(VECTORS)
    seen = []
    body.blocks[0].register_forward_pre_hook(lambda module, given: seen.append(given[1].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        body(x, t, conditions)
        body(x, t, conditions.bfloat16())
    assert seen == [torch.float32, torch.bfloat16]


@both
def test_own_frequencies_stay_float32_and_travel_in_checkpoints(kind):
    body, config = build(kind, num_frequencies=7)
    drawn = torch.linspace(-1, 1, 7)
    body.load_state_dict(body.state_dict() | {"frequencies": drawn})
    assert torch.equal(copy.deepcopy(body).to(torch.bfloat16).frequencies, drawn)
    with torch.device("meta"):
        empty = type(body)(config)
    empty.to_empty(device="cpu")
    empty.load_state_dict(body.state_dict())
    assert torch.equal(empty(*inputs(config)), body(*inputs(config)))
    assert "frequencies" not in build(kind)[0].state_dict()
    assert torch.equal(build(kind)[0].frequencies, fourier_frequencies())


@both
def test_the_whole_forward_is_one_graph(kind):
    body, config = build(kind, qk_norm=True, patch_size=2)
    compiled = torch.compile(body, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*inputs(config)), body(*inputs(config)))


def test_every_kind_has_a_config_and_a_body_and_others_are_refused():
    assert {"lightning", "ddt", "mmdit", "sit"} <= set(BODIES)
    assert all(dataclasses.is_dataclass(config) for config, _ in BODIES.values())
    with pytest.raises(ValueError, match="got 'ligthning'; did you mean 'lightning'"):
        body_classes("ligthning")
