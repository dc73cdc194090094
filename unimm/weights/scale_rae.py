"""The published Scale-RAE names of the generator's head, the pixel decoder and the vision tower.

Sizes are always those of the tensors. Not mapped, because no checkpoint holds them: the time
frequencies (`unimm/dit/fourier_W.safetensors`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from unimm.shapes import side_of
from unimm.weights.folder import refuse
from unimm.weights.keymap import Entry, KeyMap, layer, num_layers

DIT = KeyMap(
    "Scale-RAE DiT",
    (
        *layer("embed", "x_embedder.proj", form="pointwise"),
        *layer("time.hidden", "t_embedder.mlp.0"),
        *layer("time.out", "t_embedder.mlp.2"),
        # Only where conditions were dropped in training.
        Entry("null_condition", ("y_embedder.dropout_embedding",), optional=True),
        Entry("blocks.{i}.attention_norm.weight", ("dit_blocks.{i}.norm1.weight",)),
        Entry("blocks.{i}.mlp_norm.weight", ("dit_blocks.{i}.norm2.weight",)),
        *layer("blocks.{i}.attention.qkv", "dit_blocks.{i}.attn.qkv"),
        *layer("blocks.{i}.attention.out", "dit_blocks.{i}.attn.proj"),
        *layer("blocks.{i}.mlp.gate_value", "dit_blocks.{i}.mlp.w12"),
        *layer("blocks.{i}.mlp.out", "dit_blocks.{i}.mlp.w3"),
        *layer("blocks.{i}.modulation", "dit_blocks.{i}.adaLN_modulation.1"),
        Entry("final.norm.weight", ("final_layer.norm_final.weight",)),
        *layer("final.modulation", "final_layer.adaLN_modulation.1"),
        *layer("final.out", "final_layer.linear"),
        Entry("positions", ("pos_embed",), "row", table=True),
        Entry("rope_cos", ("feat_rope.freqs_cos",), "pairs", table=True),
        Entry("rope_sin", ("feat_rope.freqs_sin",), "pairs", table=True),
    ),
)


def dit_sizes(theirs: Mapping[str, Tensor], prefix: str = "") -> dict[str, int | bool]:
    """Return the sizes of a published DiT, named as in DiTConfig, read from its tensors.

    Raises:
        ValueError: a tensor that tells a size is absent.
    """
    found = {name.removeprefix(prefix): x for name, x in theirs.items() if name.startswith(prefix)}
    telling = ("x_embedder.proj.weight", "t_embedder.mlp.2.weight", "feat_rope.freqs_cos")
    refuse(DIT.name, missing=[prefix + name for name in telling if name not in found])
    width, channels = found["x_embedder.proj.weight"].shape[:2]
    num_tokens, head_width = found["feat_rope.freqs_cos"].shape
    return {
        "channels": channels,
        "width": width,
        "depth": num_layers(found, "dit_blocks."),
        "heads": width // head_width,
        "condition_width": found["t_embedder.mlp.2.weight"].shape[0],
        "grid": side_of(num_tokens),
        "guidable": "y_embedder.dropout_embedding" in found,
    }


def _inside(rows: tuple[Entry, ...], ours: str, theirs: str) -> tuple[Entry, ...]:
    """The same rows one module deeper."""
    return tuple(
        replace(row, ours=ours + row.ours, theirs=tuple(theirs + name for name in row.theirs)) for row in rows
    )


FLOW_HEAD = KeyMap(
    "Scale-RAE flow head",
    (
        *_inside(DIT.rows, "dit.", "model."),
        # Only where it was trained on normalised latents; [N C] or [C].
        Entry("statistics.mean", ("data_mean",), optional=True),
        Entry("statistics.std", ("data_std",), optional=True),
    ),
)

DECODER = KeyMap(
    "Scale-RAE decoder",
    (
        *layer("embed", "decoder_embed"),
        Entry("class_token", ("trainable_cls_token",), "vector"),
        *layer("blocks.{i}.attention_norm", "decoder_layers.{i}.layernorm_before"),
        *layer(
            "blocks.{i}.qkv",
            "decoder_layers.{i}.attention.attention.query",
            "decoder_layers.{i}.attention.attention.key",
            "decoder_layers.{i}.attention.attention.value",
        ),
        *layer("blocks.{i}.attention_out", "decoder_layers.{i}.attention.output.dense"),
        *layer("blocks.{i}.mlp_norm", "decoder_layers.{i}.layernorm_after"),
        *layer("blocks.{i}.mlp_in", "decoder_layers.{i}.intermediate.dense"),
        *layer("blocks.{i}.mlp_out", "decoder_layers.{i}.output.dense"),
        *layer("norm", "decoder_norm"),
        *layer("out", "decoder_pred"),
        Entry("positions", ("decoder_pos_embed",), "after_class", table=True),
    ),
)

_TOWER = (
    *layer("embeddings.patch_embedding", "embeddings.patch_embedding"),
    Entry("embeddings.position_embedding.weight", ("embeddings.position_embedding.weight",)),
    *(
        entry
        for part in (
            "layer_norm1",
            "layer_norm2",
            "mlp.fc1",
            "mlp.fc2",
            *(f"self_attn.{name}_proj" for name in ("q", "k", "v", "out")),
        )
        for entry in layer(f"layers.{{i}}.{part}", f"encoder.layers.{{i}}.{part}")
    ),
)

SIGLIP = KeyMap("SigLIP vision tower", _TOWER, unused=(r"post_layernorm\..*", r"head\..*"))
"""For use_head=False; final norm and pooling head, which latents never meet, are left out."""

SIGLIP_WITH_HEAD = KeyMap(
    "SigLIP vision tower with head",
    (
        *_TOWER,
        *layer("post_layernorm", "post_layernorm"),
        *(
            Entry(f"head.{name}", (f"head.{name}",))
            for name in (
                "probe",
                "attention.in_proj_weight",
                "attention.in_proj_bias",
                "attention.out_proj.weight",
                "attention.out_proj.bias",
                "layernorm.weight",
                "layernorm.bias",
                "mlp.fc1.weight",
                "mlp.fc1.bias",
                "mlp.fc2.weight",
                "mlp.fc2.bias",
            )
        ),
    ),
)
