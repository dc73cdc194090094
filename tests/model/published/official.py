"""Complete folders in the official layout, made for tests: the model's, a decoder's, a vision tower's.

The names of the model's tensors are written out here, as the published table has them, and not taken from
the maps under test. `recorded_model` takes weights and config of a recorded model, `codec_tiny` and
`webssl_like_tiny` towers and the decoder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.conftest import ROOT
from tests.text.qwen import MARKS, write_tokenizer
from unimm.dit.rope import rope_angles
from unimm.shapes import sincos_table

LLM_LINEARS = {
    "self_attn.q_proj": ("width", "width"),
    "self_attn.k_proj": ("keys", "width"),
    "self_attn.v_proj": ("keys", "width"),
    "self_attn.o_proj": ("width", "width"),
    "mlp.gate_proj": ("mlp", "width"),
    "mlp.up_proj": ("mlp", "width"),
    "mlp.down_proj": ("width", "mlp"),
}


@dataclass(frozen=True)
class Sizes:
    """Of a small model; the published ones are larger."""

    rows: int = 180
    width: int = 32
    depth: int = 2
    heads: int = 4
    key_heads: int = 2
    mlp: int = 48
    tokens: int = 16
    channels: int = 24
    seen: int = 24
    dit_width: int = 32
    dit_depth: int = 2
    dit_heads: int = 4
    condition: int = 20
    tied: bool = False
    guidable: bool = True
    statistics: str = "none"

    @property
    def keys(self) -> int:
        return self.width // self.heads * self.key_heads


def model_shapes(s: Sizes) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every tensor of a model, the constants excepted."""
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (s.rows, s.width)}
    for i in range(s.depth):
        for name, (rows, columns) in LLM_LINEARS.items():
            shapes[f"model.layers.{i}.{name}.weight"] = getattr(s, rows), getattr(s, columns)
            if name[-6] in "qkv" and name.startswith("self_attn"):
                shapes[f"model.layers.{i}.{name}.bias"] = (getattr(s, rows),)
        shapes[f"model.layers.{i}.input_layernorm.weight"] = (s.width,)
        shapes[f"model.layers.{i}.post_attention_layernorm.weight"] = (s.width,)
    shapes["model.norm.weight"] = (s.width,)
    shapes["model.latent_queries"] = s.tokens, s.width
    shapes |= linear("model.mm_projector.0", s.width, s.seen) | linear(
        "model.mm_projector.2", s.width, s.width
    )
    if not s.tied:
        shapes["lm_head.weight"] = s.rows, s.width
    shapes |= linear("diff_head_projector", s.condition, s.width)
    shapes |= {f"diff_head.model.{name}": shape for name, shape in dit_shapes(s).items()}
    statistics = {"none": None, "channel": (s.channels,), "token": (s.tokens, s.channels)}[s.statistics]
    if statistics is not None:
        shapes |= {"diff_head.data_mean": statistics, "diff_head.data_std": statistics}
    return shapes


def dit_shapes(s: Sizes) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every parameter of the diffusion transformer."""
    width, z, mlp = s.dit_width, s.condition, int(2 / 3 * 4 * s.dit_width)
    shapes = {"x_embedder.proj.weight": (width, s.channels, 1, 1), "x_embedder.proj.bias": (width,)}
    shapes |= linear("t_embedder.mlp.0", z, 512) | linear("t_embedder.mlp.2", z, z)
    if s.guidable:
        shapes["y_embedder.dropout_embedding"] = (z,)
    for i in range(s.dit_depth):
        block = f"dit_blocks.{i}"
        shapes |= {f"{block}.norm1.weight": (width,), f"{block}.norm2.weight": (width,)}
        shapes |= linear(f"{block}.attn.qkv", 3 * width, width) | linear(f"{block}.attn.proj", width, width)
        shapes |= linear(f"{block}.mlp.w12", 2 * mlp, width) | linear(f"{block}.mlp.w3", width, mlp)
        shapes |= linear(f"{block}.adaLN_modulation.1", 6 * width, z)
    shapes["final_layer.norm_final.weight"] = (width,)
    shapes |= linear("final_layer.linear", s.channels, width)
    return shapes | linear("final_layer.adaLN_modulation.1", 2 * width, z)


def linear(name: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a linear layer."""
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def constants(s: Sizes) -> dict[str, Tensor]:
    """Return the position tables that a file holds beside its parameters."""
    side = round(s.tokens**0.5)
    angles = rope_angles(side, s.dit_width // s.dit_heads).repeat_interleave(2, dim=1)
    return {
        "diff_head.model.pos_embed": sincos_table(side, s.dit_width)[None],
        "diff_head.model.feat_rope.freqs_cos": angles.cos(),
        "diff_head.model.feat_rope.freqs_sin": angles.sin(),
    }


def random_model(s: Sizes, seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Return a model's tensors, every parameter random."""
    state = {name: random(shape, seed + index) for index, (name, shape) in enumerate(model_shapes(s).items())}
    if s.statistics != "none":
        state["diff_head.data_std"] = state["diff_head.data_std"].abs() + 0.5
    return {name: x.to(dtype) for name, x in (state | constants(s)).items()}


def random(shape: tuple[int, ...], seed: int) -> Tensor:
    """Return numbers of a size that keeps a small network alive."""
    numbers = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return numbers * (shape[-1] ** -0.5 if len(shape) > 1 else 0.3)


def model_config(
    s: Sizes, tower: str = "google/siglip2-so400m-patch14-224", **changes: Any
) -> dict[str, Any]:
    """Return a config.json with the fields of the published ones."""
    values = {
        "architectures": ["CambrianQwenForCausalLM"],
        "model_type": "cambrian_qwen",
        "attention_dropout": 0.0,
        "bos_token_id": 151643,
        "eos_token_id": 151645,
        "hidden_act": "silu",
        "hidden_size": s.width,
        "initializer_range": 0.02,
        "intermediate_size": s.mlp,
        "max_position_embeddings": 1024,
        "num_attention_heads": s.heads,
        "num_hidden_layers": s.depth,
        "num_key_value_heads": s.key_heads,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "sliding_window": None,
        "tie_word_embeddings": s.tied,
        "torch_dtype": "float32",
        "transformers_version": "4.37.0",
        "use_cache": False,
        "use_sliding_window": False,
        "vocab_size": s.rows,
        "mm_vision_tower_aux_list": [tower],
        "mm_vision_tower_aux_token_len_list": [s.tokens],
        "vision_tower_aux_token_len_list": [s.tokens],
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_layer": -1,
        "mm_vision_select_feature": "patch",
        "mm_use_im_start_end": True,
        "mm_use_im_patch_token": False,
        "image_aspect_ratio": "square",
        "si_token_len": 729,
        "miv_token_len": 0,
        "vision_hidden_size": 1024,
        "vision_loss": "diffusion-loss",
        "vision_loss_mode": "query",
        "vision_coef": 2.0,
        "diffusion_model_hidden_size": s.dit_width,
        "diffusion_model_channels": s.channels,
        "diffusion_model_depth": s.dit_depth,
        "diffusion_model_heads": s.dit_heads,
        "diffusion_model_z_channels": s.condition,
        "diffusion_split_per_token": 256,
        "ddt_encoder_depth": 2,
        "diffusion_class_dropout_prob": 0.1,
        "dit_cls": "DiT",
        "tokenizer_model_max_length": 1024,
    }
    return values | changes


def write_model(
    folder: Path,
    state: Mapping[str, Tensor],
    values: Mapping[str, Any],
    num_shards: int = 1,
    **tokenizer: Any,
) -> Path:
    """Write a model's folder: config, weights in so many files, tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(values, indent=2))
    (folder / "generation_config.json").write_text(json.dumps({"do_sample": False}))
    write_tokenizer(folder, **tokenizer)
    names = list(state)
    if num_shards == 1:
        save_file(dict(state), folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    weight_map = {}
    for shard in range(num_shards):
        file = f"model-{shard + 1:05d}-of-{num_shards:05d}.safetensors"
        part = {name: state[name] for name in names[shard::num_shards]}
        save_file(part, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    size = sum(x.nbytes for x in state.values())
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


@dataclass(frozen=True)
class Codec:
    """A vision tower and the decoder of its latents, as files hold them."""

    tower: dict[str, Tensor]
    tower_config: dict[str, Any]
    decoder: dict[str, Tensor] = field(default_factory=dict)
    decoder_config: dict[str, Any] = field(default_factory=dict)

    def write(self, root: Path) -> tuple[Path, Path]:
        """Write the folders of both; return the tower's and the decoder's."""
        tower, decoder = root / "tower", root / "pixel_decoder"
        for folder, values in ((tower, self.tower_config), (decoder, self.decoder_config)):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "config.json").write_text(json.dumps(values))
        save_file(self.tower, tower / "model.safetensors", metadata={"format": "pt"})
        torch.save(self.decoder, decoder / "model.pt")
        return tower, decoder


def recorded_codec() -> Codec:
    """Return the recorded SigLIP tower and decoder."""
    tensors, metadata = recorded("scale_rae/codec_tiny")
    tower = {
        f"vision_model.{n.removeprefix('siglip_vision.')}": x
        for n, x in tensors.items()
        if n.startswith("siglip_vision.")
    }
    config = {"model_type": "siglip_vision_model", **json.loads(metadata["siglip_vision_config"])}
    decoder = {n.removeprefix("decoder."): x for n, x in tensors.items() if n.startswith("decoder.")}
    values = {"model_type": "vit_mae", "hidden_size": 768, **json.loads(metadata["decoder_config"])}
    return Codec(tower, config, decoder, values)


def recorded_webssl() -> Codec:
    """Return the recorded DINOv2-like tower, with a random decoder of its latents."""
    tensors, _ = recorded("scale_rae/webssl_like_tiny")
    tower = {n.removeprefix("dinov2."): x for n, x in tensors.items() if n.startswith("dinov2.")}
    width, _, patch, _ = tower["embeddings.patch_embeddings.projection.weight"].shape
    side = round((tower["embeddings.position_embeddings"].shape[1] - 1) ** 0.5)
    config = {
        "model_type": "dinov2",
        "hidden_size": width,
        "num_hidden_layers": len({name.split(".")[2] for name in tower if name.startswith("encoder.layer.")}),
        "num_attention_heads": 1,  # no tensor tells it
        "mlp_ratio": tower["encoder.layer.0.mlp.fc1.weight"].shape[0] // width,
        "image_size": side * patch,
        "patch_size": patch,
    }
    return replace(random_codec(side**2, width, patch), tower=tower, tower_config=config)


def random_codec(tokens: int, channels: int, patch: int = 2, seed: int = 0) -> Codec:
    """Return a small SigLIP tower and its decoder for latents of any size, every parameter random."""
    side, mlp, wide = round(tokens**0.5), 2 * channels, 16
    shapes = {
        "embeddings.patch_embedding.weight": (channels, 3, patch, patch),
        "embeddings.patch_embedding.bias": (channels,),
        "embeddings.position_embedding.weight": (tokens, channels),
    }
    layer = "encoder.layers.0"
    for norm in ("layer_norm1", "layer_norm2"):
        shapes |= {f"{layer}.{norm}.weight": (channels,), f"{layer}.{norm}.bias": (channels,)}
    for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
        shapes |= linear(f"{layer}.self_attn.{part}", channels, channels)
    shapes |= linear(f"{layer}.mlp.fc1", mlp, channels) | linear(f"{layer}.mlp.fc2", channels, mlp)
    decoder = linear("decoder_embed", wide, channels) | linear("decoder_pred", 3 * patch * patch, wide)
    decoder |= {
        "trainable_cls_token": (1, 1, wide),
        "decoder_norm.weight": (wide,),
        "decoder_norm.bias": (wide,),
    }
    block = "decoder_layers.0"
    for norm in ("layernorm_before", "layernorm_after"):
        decoder |= {f"{block}.{norm}.weight": (wide,), f"{block}.{norm}.bias": (wide,)}
    for part in ("attention.attention.query", "attention.attention.key", "attention.attention.value"):
        decoder |= linear(f"{block}.{part}", wide, wide)
    decoder |= linear(f"{block}.attention.output.dense", wide, wide)
    decoder |= linear(f"{block}.intermediate.dense", 2 * wide, wide) | linear(
        f"{block}.output.dense", wide, 2 * wide
    )
    table = torch.cat([torch.zeros(1, wide), sincos_table(side, wide)])[None]
    tower = {f"vision_model.{n}": random(x, seed + 1000 + i) for i, (n, x) in enumerate(shapes.items())}
    return Codec(
        tower,
        {
            "model_type": "siglip_vision_model", "hidden_size": channels, "intermediate_size": mlp,
            "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": side * patch, "patch_size": patch,
        },
        {name: random(shape, seed + 2000 + i) for i, (name, shape) in enumerate(decoder.items())}
        | {"decoder_pos_embed": table},
        {
            "model_type": "vit_mae", "decoder_hidden_size": wide, "decoder_num_hidden_layers": 1,
            "decoder_num_attention_heads": 2, "decoder_intermediate_size": 2 * wide, "patch_size": patch,
            "image_size": side * patch, "hidden_act": "gelu", "qkv_bias": True, "layer_norm_eps": 1e-12,
        },
    )  # fmt: skip


def codec_sizes(codec: Codec, **changes: Any) -> Sizes:
    """Return sizes of a model that sees and draws the latents of a tower."""
    values = codec.tower_config
    tokens = (values["image_size"] // values["patch_size"]) ** 2
    told = {"tokens": tokens, "channels": values["hidden_size"], "seen": values["hidden_size"]}
    return Sizes(**told | changes)


@dataclass(frozen=True)
class Official:
    """A complete published model on disk, and what its files hold."""

    folder: Path
    parts: dict[str, Path]
    state: dict[str, Tensor]
    values: dict[str, Any]
    codec: Codec


def make_official(
    root: Path,
    codec: Codec | None = None,
    num_shards: int = 1,
    state: Mapping[str, Tensor] | None = None,
    values: Mapping[str, Any] | None = None,
    fast: bool = False,
    **sizes: Any,
) -> Official:
    """Write a complete model: its folder, a vision tower, a decoder.

    Args:
        root: where the three folders go.
        codec: tower and decoder; the recorded ones if none are given.
        num_shards: files that the weights are cut into.
        state: the model's tensors; random ones if none are given.
        values: changes to the config.json; a value of "absent" takes the field out.
        fast: whether the tokenizer is one file.
        sizes: of the random model, see Sizes.
    """
    codec = codec or recorded_codec()
    chosen = codec_sizes(codec, **sizes)
    state = dict(random_model(chosen) if state is None else state)
    config = {n: v for n, v in (model_config(chosen) | dict(values or {})).items() if v != "absent"}
    rows = state["model.embed_tokens.weight"].shape[0]
    folder = write_model(
        root / "model", state, config, num_shards, num_pieces=min(155, rows - len(MARKS)), fast=fast
    )
    tower, decoder = codec.write(root)
    return Official(folder, {"vision_tower": tower, "decoder": decoder}, state, config, codec)


def recorded(name: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return tensors and metadata of a recorded file."""
    path = ROOT / f"{name}.safetensors"
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
    return load_file(path), metadata
