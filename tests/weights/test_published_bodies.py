"""Names of DiT^DH, LightningDiT and Scale-RAE's DDT: both ways, every variant, every gap named."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.dit.small import LABELLED, WIDE, awake, inputs
from unimm.dit import DDT, DiTConfig, LightningDiT
from unimm.dit.bodies import body_classes
from unimm.dit.presets import preset
from unimm.weights import (
    check_tables,
    ddt_map,
    ddt_sizes,
    ditdh_map,
    ditdh_sizes,
    lightningdit_map,
    lightningdit_sizes,
    read_latent_statistics,
    unwrapped,
    write_latent_statistics,
)

LIGHTNING = dataclasses.replace(LABELLED, time="sinusoid", time_reversed=True, condition_activations=1)
RAE = dataclasses.replace(LABELLED, num_frequencies=9, condition_activations=1)
DITDH = dataclasses.replace(WIDE, num_frequencies=9)
PLAIN = dataclasses.replace(WIDE, num_classes=None, condition_width=12, bridge="plain")
VARIANTS = [
    {},
    {"qk_norm": True},
    {"norm": "layer", "mlp": "gelu"},
    {"shift": False},
    {"patch_size": 2},
    {"learn_sigma": True},
    {"positions": False},
    {"mlp_width": 50},
]
LAYOUTS = {
    "LightningDiT": (LightningDiT, LIGHTNING, lightningdit_map, lightningdit_sizes),
    "RAE LightningDiT": (LightningDiT, RAE, lightningdit_map, lightningdit_sizes),
    "DiT^DH": (DDT, DITDH, ditdh_map, ditdh_sizes),
    "Scale-RAE DDT": (DDT, PLAIN, ddt_map, ddt_sizes),
}
CASES = [
    pytest.param(body, dataclasses.replace(config, **change), names, sizes, id=f"{layout} {change}")
    for layout, (body, config, names, sizes) in LAYOUTS.items()
    for change in (VARIANTS if layout != "Scale-RAE DDT" else [{}, {"mlp_width": 50}])
]


def published(body, names):
    """Return the body's parameters and tables under published names."""
    tables = {n: x for n, x in body.named_buffers() if n != "frequencies" and x.numel() > 1}
    return names(dataclasses.asdict(body.config)).write(dict(body.state_dict()) | tables)


@pytest.mark.parametrize(("body_class", "config", "names", "sizes"), CASES)
def test_a_body_written_and_read_back_by_its_tensors_alone_is_the_same(body_class, config, names, sizes):
    body = awake(body_class(config))
    theirs = published(body, names)
    told = sizes({f"deep.{name}": x for name, x in theirs.items()}, "deep.")
    other = body_class(type(config)(**told))
    parameters, tables = names(told).read(theirs)
    check_tables(dict(other.named_buffers()), tables)
    other.load_state_dict(parameters)
    x, t, conditions = inputs(config)
    assert torch.equal(other(x, t, conditions), body(x, t, conditions))
    assert all(torch.equal(x, body.state_dict()[name]) for name, x in parameters.items())


@pytest.mark.parametrize(
    ("name", "names", "sizes", "said"),
    [
        (
            "DiT^DH-XL",
            ditdh_map,
            ditdh_sizes,
            {
                "pos_embed": (1, 256, 1152),
                "x_embedder.proj.weight": (2048, 768, 1, 1),
                "s_embedder.proj.weight": (1152, 768, 1, 1),
                "s_projector.weight": (2048, 1152),
                "t_embedder.W": (256,),
                "y_embedder.embedding_table.weight": (1001, 1152),
                "blocks.27.attn.qkv.weight": (3456, 1152),
                "blocks.27.mlp.w12.weight": (6144, 1152),
                "blocks.29.mlp.w3.weight": (2048, 5461),
                "blocks.29.adaLN_modulation.1.weight": (12288, 2048),
                "final_layer.linear.weight": (768, 2048),
                "final_layer.adaLN_modulation.1.weight": (4096, 2048),
                "enc_feat_rope.freqs_cos": (256, 72),
                "dec_feat_rope.freqs_sin": (256, 128),
            },
        ),
        (
            "LightningDiT-XL",
            lightningdit_map,
            lightningdit_sizes,
            {
                "x_embedder.proj.weight": (1152, 32, 1, 1),
                "t_embedder.mlp.0.weight": (1152, 256),
                "feat_rope.freqs_cos": (256, 72),
                "blocks.27.norm2.weight": (1152,),
                "final_layer.linear.weight": (32, 1152),
            },
        ),
    ],
)
def test_a_full_size_file_has_the_published_names_and_shapes(name, names, sizes, said):
    kind, config = preset(name)
    with torch.device("meta"):
        theirs = published(body_classes(kind)[1](config), names)
    shapes = {key: tuple(theirs[key].shape) for key in said}
    assert shapes == said
    if name == "DiT^DH-XL":
        assert len(theirs) == 382
    written = dataclasses.asdict(config)
    told = sizes(theirs)
    assert {key: written[key] for key in told if not key.endswith("mlp_width")} == {
        key: value for key, value in told.items() if not key.endswith("mlp_width")
    }


def test_the_reversed_velocity_is_in_the_final_layer():
    body = awake(LightningDiT(LIGHTNING))
    theirs = published(body, lightningdit_map)
    assert torch.equal(theirs["final_layer.linear.weight"], -body.final.out.weight)
    assert torch.equal(theirs["final_layer.linear.bias"], -body.final.out.bias)
    same = published(awake(LightningDiT(RAE)), lightningdit_map)
    assert torch.equal(same["final_layer.linear.weight"], awake(LightningDiT(RAE)).final.out.weight)


def test_what_tensors_do_not_tell_is_asked_for():
    same = dataclasses.replace(DITDH, head_width=32, head_heads=2)
    theirs = published(DDT(same), ditdh_map)
    with pytest.raises(ValueError, match=r"DiT\^DH: the tensors do not tell depth and head_depth; give them"):
        ditdh_sizes(theirs)
    told = ditdh_sizes(theirs, depth=3)
    assert (told["depth"], told["head_depth"]) == (3, 1)
    plain = dataclasses.replace(LIGHTNING, rope=False)
    theirs = published(LightningDiT(plain), lightningdit_map)
    with pytest.raises(ValueError, match="LightningDiT: the tensors do not tell heads"):
        lightningdit_sizes(theirs)
    assert DiTConfig(**lightningdit_sizes(theirs, heads=2)) == dataclasses.replace(plain, mlp_width=85)
    with pytest.raises(ValueError, match="got head"):
        lightningdit_sizes(theirs, head=2)


def test_gaps_strangers_and_prefixes_are_named():
    theirs = published(awake(DDT(DITDH)), ditdh_map)
    names = ditdh_map(ditdh_sizes(theirs))
    wrapped = {"ema": {f"module.{name}": x for name, x in theirs.items()}, "model": theirs, "epoch": 3}
    assert names.read(unwrapped(wrapped))[0].keys() == names.read(theirs)[0].keys()
    with pytest.raises(ValueError, match=r"every name starts with 'stage2\.'"):
        names.read({f"stage2.{name}": x for name, x in theirs.items()})
    del theirs["blocks.3.mlp.w3.bias"]
    theirs["blocks.3.mlp.w4.bias"] = torch.zeros(1)
    with pytest.raises(
        ValueError, match=r"missing: blocks\.3\.mlp\.w3\.bias; unexpected: blocks\.3\.mlp\.w4"
    ):
        names.read(theirs)
    del theirs["s_embedder.proj.weight"]
    with pytest.raises(ValueError, match=r"missing: s_embedder\.proj\.weight"):
        ditdh_sizes(theirs)


def test_other_rotary_tables_than_ours_are_refused():
    body = awake(DDT(DITDH))
    theirs = published(body, ditdh_map)
    theirs["dec_feat_rope.freqs_cos"] = theirs["dec_feat_rope.freqs_cos"].flip(0)
    _, tables = ditdh_map(ditdh_sizes(theirs)).read(theirs)
    assert set(tables) == {"positions", "rope_cos", "rope_sin", "head_rope_cos", "head_rope_sin"}
    with pytest.raises(ValueError, match="differing: head_rope_cos"):
        check_tables(dict(body.named_buffers()), tables)


def test_latent_statistics_are_one_number_per_channel():
    theirs = {"mean": torch.randn(1, 5, 1, 1), "std": torch.rand(1, 5, 1, 1)}
    ours = read_latent_statistics(theirs)
    assert {name: x.shape for name, x in ours.items()} == {"mean": (5,), "std": (5,)}
    assert torch.equal(ours["mean"], theirs["mean"].flatten())
    assert all(torch.equal(x, theirs[name]) for name, x in write_latent_statistics(ours).items())
    with pytest.raises(ValueError, match="latents_stats: .* missing: std; unexpected: var"):
        read_latent_statistics({"mean": theirs["mean"], "var": theirs["std"]})
    with pytest.raises(ValueError, match=r"latents_stats: expected std \[1 C 1 1\], got \[5\]"):
        read_latent_statistics({"mean": theirs["mean"], "std": torch.ones(5)})
