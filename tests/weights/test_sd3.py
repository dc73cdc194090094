"""Stable Diffusion 3's names and configs: both layouts, both directions, every gap named."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from safetensors.torch import save_file

from unimm.dit.mmdit import MMDiT, MMDiTConfig
from unimm.weights import load_strictly
from unimm.weights.sd3 import (
    SINGLE_FILE,
    diffusers_sd3,
    join_positions,
    original_sd3,
    original_sd3_sizes,
    split_positions,
)
from unimm.weights.sd3_config import mmdit_config, to_diffusers_config
from unimm.weights.sd3_files import read_sd3_file, read_sd3_folder, write_sd3_file, write_sd3_folder

CONFIG = MMDiTConfig(
    channels=3, width=32, depth=3, heads=2, grid=8, sequence_width=12, pooled_width=5, patch_size=2,
    qk_norm=True, dual_blocks=(0, 2), max_grid=12, positions="stored",
)  # fmt: skip
VARIANTS = [CONFIG, dataclasses.replace(CONFIG, qk_norm=False, dual_blocks=(), patch_size=1, width=128)]
SD35_MEDIUM = {
    "_class_name": "SD3Transformer2DModel",
    "sample_size": 128,
    "patch_size": 2,
    "in_channels": 16,
    "num_layers": 24,
    "attention_head_dim": 64,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "caption_projection_dim": 1536,
    "pooled_projection_dim": 2048,
    "out_channels": 16,
    "pos_embed_max_size": 384,
    "dual_attention_layers": list(range(13)),
    "qk_norm": "rms_norm",
}


def network(config=CONFIG):
    """Return (sizes, state) of a network whose every number is random."""
    dit, generator = MMDiT(config), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in dit.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return dataclasses.asdict(config), dict(dit.state_dict())


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("config", VARIANTS)
@pytest.mark.parametrize("layout", [diffusers_sd3, original_sd3])
def test_our_names_written_and_read_back_are_ours(layout, config):
    sizes, state = network(config)
    parameters, tables = layout(sizes).read(layout(sizes).write(state, "deep."), "deep.")
    assert equal(parameters, state)
    assert not tables


def test_the_layouts_hold_the_same_numbers_in_other_forms():
    sizes, state = network()
    new, old = diffusers_sd3(sizes).write(state), original_sd3(sizes).write(state)
    qkv = [new[f"transformer_blocks.1.attn.add_{x}_proj.weight"] for x in "qkv"]
    assert torch.equal(torch.cat(qkv), old["joint_blocks.1.context_block.attn.qkv.weight"])
    for ours, theirs in (
        ("norm_out.linear", "final_layer.adaLN_modulation.1"),
        ("transformer_blocks.2.norm1_context.linear", "joint_blocks.2.context_block.adaLN_modulation.1"),
    ):
        for part in ("weight", "bias"):
            scale, shift = new[f"{ours}.{part}"].split(32)
            assert torch.equal(torch.cat([shift, scale]), old[f"{theirs}.{part}"])
    whole = new["transformer_blocks.0.norm1_context.linear.weight"]
    assert torch.equal(whole, old["joint_blocks.0.context_block.adaLN_modulation.1.weight"])
    assert torch.equal(new["pos_embed.pos_embed"], old["pos_embed"])
    assert old["pos_embed"].shape == (1, 36, 32)
    assert sum(x.numel() for x in new.values()) == sum(x.numel() for x in old.values())


def test_a_model_that_computes_its_table_writes_it_too():
    dit = MMDiT(dataclasses.replace(CONFIG, positions="centred"))
    sizes, state = dataclasses.asdict(dit.config), dict(dit.state_dict())
    with pytest.raises(ValueError, match=r"missing: positions\.columns, positions\.rows"):
        diffusers_sd3(sizes).write(state)
    tables = {name: x for name, x in dit.named_buffers() if name.startswith("positions.")}
    written = diffusers_sd3(sizes).write(state | tables)
    assert torch.equal(written["pos_embed.pos_embed"][0], dit.positions(6, 6))


@pytest.mark.parametrize("config", VARIANTS)
def test_sizes_of_an_original_file_are_read_from_its_tensors(config):
    sizes, state = network(config)
    found = original_sd3_sizes(original_sd3(sizes).write(state, SINGLE_FILE), grid=8)
    assert found == {name: sizes[name] for name in found}
    assert MMDiTConfig(**found) == config


def test_gaps_and_strangers_are_listed_with_their_prefix():
    sizes, state = network()
    theirs = diffusers_sd3(sizes).write(state, "m.")
    del theirs["m.transformer_blocks.0.attn2.to_k.bias"], theirs["m.pos_embed.pos_embed"]
    theirs["m.transformer_blocks.2.attn.to_add_out.bias"] = torch.ones(1)
    theirs["elsewhere"] = torch.ones(1)
    with pytest.raises(ValueError, match="tensors do not fit") as raised:
        diffusers_sd3(sizes).read(theirs, "m.")
    assert str(raised.value) == (
        "diffusers SD3 transformer: the tensors do not fit; "
        "missing: m.pos_embed.pos_embed, m.transformer_blocks.0.attn2.to_k.bias; "
        "unexpected: m.transformer_blocks.2.attn.to_add_out.bias"
    )


def test_a_file_of_another_layout_is_refused():
    sizes, state = network()
    with pytest.raises(ValueError, match=r"missing: model\.diffusion_model\.context_embedder\.weight"):
        original_sd3_sizes(diffusers_sd3(sizes).write(state))


@pytest.mark.parametrize("config", VARIANTS)
def test_the_position_table_splits_and_joins(config):
    _, state = network(config)
    columns, rows = state["positions.columns"], state["positions.rows"]
    table = join_positions(columns, rows)
    assert torch.equal(table, MMDiT(config).positions(config.table, config.table))
    assert equal(split_positions(table), {"positions.columns": columns, "positions.rows": rows})
    for half in (slice(0, columns.shape[1]), slice(columns.shape[1], None)):
        other = table.clone()
        other[-1, half] += 1e-3
        with pytest.raises(ValueError, match="trained or built otherwise"):
            split_positions(other)
    with pytest.raises(ValueError, match=r"expected \[side\^2 W\]"):
        split_positions(table[1:])


def test_a_published_config_is_read_and_written_back():
    sizes = mmdit_config(SD35_MEDIUM)
    config = MMDiTConfig(**sizes)
    assert (config.width, config.table, config.side) == (1536, 384, 64)
    assert config.dual_blocks == tuple(range(13))
    assert to_diffusers_config(sizes) == to_diffusers_config(dataclasses.asdict(config)) == SD35_MEDIUM


def test_the_older_config_knows_neither_norm_nor_dual_blocks():
    older = {k: x for k, x in SD35_MEDIUM.items() if k not in ("qk_norm", "dual_attention_layers")}
    assert mmdit_config(older)["qk_norm"] is False
    assert mmdit_config(older)["dual_blocks"] == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"_class_name": "FluxTransformer2DModel"}, "expected SD3Transformer2DModel, got Flux"),
        ({"guidance_embeds": True}, "unknown: guidance_embeds"),
        ({"caption_projection_dim": 1152}, "caption_projection_dim: expected 1536, got 1152"),
        ({"out_channels": 32}, "out_channels: expected 16 or None, got 32"),
        ({"qk_norm": "layer_norm"}, "qk_norm: expected None or 'rms_norm', got 'layer_norm'"),
    ],
)
def test_configs_of_other_networks_are_refused(change, said):
    with pytest.raises(ValueError, match=said):
        mmdit_config(SD35_MEDIUM | change)


def test_what_a_config_lacks_is_listed():
    with pytest.raises(ValueError, match="missing: num_layers, sample_size"):
        mmdit_config({k: x for k, x in SD35_MEDIUM.items() if k not in ("sample_size", "num_layers")})


def test_diffusers_has_no_other_mlp():
    with pytest.raises(ValueError, match="mlp_width: expected 4 W = 32, the only one"):
        to_diffusers_config(dataclasses.asdict(dataclasses.replace(CONFIG, width=8, mlp_width=48)))


@pytest.mark.parametrize("max_shard_bytes", [100_000, 10**9])
def test_a_folder_of_diffusers_is_written_and_read(tmp_path, max_shard_bytes):
    sizes, state = network()
    write_sd3_folder(state, sizes, tmp_path / "transformer")  # replaced by the next
    write_sd3_folder(state, sizes, tmp_path / "transformer", max_shard_bytes)
    index = tmp_path / "transformer" / "diffusion_pytorch_model.safetensors.index.json"
    assert index.exists() == (max_shard_bytes < 10**9)
    assert json.loads((tmp_path / "transformer" / "config.json").read_text())["num_layers"] == 3
    found, parameters = read_sd3_folder(tmp_path / "transformer")
    assert MMDiTConfig(**found) == CONFIG
    assert equal(parameters, state)
    load_strictly(MMDiT(MMDiTConfig(**found)), parameters)


def test_an_original_file_is_written_and_read_beside_other_networks(tmp_path):
    sizes, state = network()
    write_sd3_file(state, sizes, tmp_path / "alone.safetensors")
    theirs = original_sd3(sizes).write(state, SINGLE_FILE)
    save_file(theirs | {"first_stage_model.x": torch.ones(1)}, tmp_path / "whole.safetensors")
    for name in ("alone", "whole"):
        found, parameters = read_sd3_file(tmp_path / f"{name}.safetensors", grid=8)
        assert MMDiTConfig(**found) == CONFIG
        assert equal(parameters, state)


def test_files_that_are_none_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file at"):
        read_sd3_file(tmp_path / "absent.safetensors")
    (tmp_path / "large.safetensors").write_bytes(bytes(100))
    with pytest.raises(ValueError, match="expected at most 99 bytes, the file has 100"):
        read_sd3_file(tmp_path / "large.safetensors", max_bytes=99)
    (tmp_path / "cut.safetensors").write_bytes(b"12345")
    with pytest.raises(ValueError, match="not readable as safetensors"):
        read_sd3_file(tmp_path / "cut.safetensors")
