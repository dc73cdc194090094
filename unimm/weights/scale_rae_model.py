"""The published names of the whole Scale-RAE model: language model, queries, connectors, flow head.

Sizes are those of the tensors; a config is asked only for what no tensor tells (attention heads, the base of
the rotary positions), and where it says what tensors say too, the two must agree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from unimm.weights.folder import refuse
from unimm.weights.keymap import Entry, KeyMap, layer, num_layers
from unimm.weights.scale_rae import FLOW_HEAD
from unimm.weights.scale_rae_ddt import ddt_map

NAME = "Scale-RAE model"
HEAD = "diff_head.model."
"""What stands before the names of the diffusion transformer."""
EMBEDDING, LM_HEAD = "model.embed_tokens.weight", "lm_head.weight"
TELLING = (
    EMBEDDING,
    "model.layers.0.self_attn.q_proj.weight",
    "model.layers.0.self_attn.k_proj.weight",
    "model.layers.0.mlp.gate_proj.weight",
    "model.latent_queries",
    "diff_head_projector.weight",
)
"""Tensors outside the flow head whose shapes tell sizes."""

_LAYER = (
    *layer("self_attn.q_proj", "self_attn.q_proj"),
    *layer("self_attn.k_proj", "self_attn.k_proj"),
    *layer("self_attn.v_proj", "self_attn.v_proj"),
    *(
        Entry(f"{name}.weight", (f"{name}.weight",))
        for name in (
            "self_attn.o_proj",
            "mlp.gate_proj",
            "mlp.up_proj",
            "mlp.down_proj",
            "input_layernorm",
            "post_attention_layernorm",
        )
    ),
)


@dataclass(frozen=True)
class Layout:
    """What decides the names in one file."""

    projector_layers: tuple[int, ...] = (0, 2)
    """Numbers of the linear layers of `model.mm_projector`."""
    body: str = "lightning"
    """Kind of the diffusion transformer: "lightning", or "ddt" with a head."""
    sizes: Mapping[str, Any] | None = None
    """Of a "ddt", whose bridge its widths decide."""
    rope: str = "feat_rope"
    """Published name of the base's rotary table: "feat_rope", or "enc_rope" beside a "dec_rope"."""


def model_map(layout: Layout) -> KeyMap:
    """Return the names of a whole model of this layout; ours are those of `UniMM`."""
    head = FLOW_HEAD.rows if layout.body == "lightning" else _ddt_head(layout)
    rows = (
        Entry(f"llm.{EMBEDDING}", (EMBEDDING,)),
        *(_deeper(row, "llm.model.layers.{i}.", "model.layers.{i}.") for row in _LAYER),
        Entry("llm.model.norm.weight", ("model.norm.weight",)),
        Entry(f"llm.{LM_HEAD}", (LM_HEAD,), optional=True),
        Entry("queries.weight", ("model.latent_queries",)),
        *(
            row
            for n in layout.projector_layers
            for row in layer(f"projector.layers.{n}", f"model.mm_projector.{n}")
        ),
        *layer("connector.layers.0", "diff_head_projector"),
        *(_deeper(row, "", "diff_head.") for row in head),
    )
    return KeyMap(NAME, rows)


def layout_of(theirs: Mapping[str, Tensor], body: str, sizes: Mapping[str, Any] | None = None) -> Layout:
    """Return the layout of a file's tensors (or headers).

    Raises:
        ValueError: no projector from latents to the language model.
    """
    numbers = {m[1] for name in theirs if (m := re.match(r"model\.mm_projector\.(\d+)\.weight$", name))}
    if not numbers:
        refuse(NAME, missing=["model.mm_projector.0.weight"])
    rope = "enc_rope" if f"{HEAD}enc_rope.freqs_cos" in theirs else "feat_rope"
    return Layout(tuple(sorted(map(int, numbers))), body, sizes, rope)


def body_kind(theirs: Mapping[str, Tensor]) -> str:
    """Return the kind of the diffusion transformer: one with a head has an embedding for it."""
    return "ddt" if f"{HEAD}s_embedder.proj.weight" in theirs else "lightning"


def llm_sizes(theirs: Mapping[str, Tensor], heads: int) -> dict[str, Any]:
    """Return the sizes of the language model, named as in LLMConfig, as far as tensors and heads tell them.

    Raises:
        ValueError: a tensor that tells a size is absent, or the heads do not divide the width.
    """
    refuse(NAME, missing=[name for name in TELLING if name not in theirs])
    rows, width = theirs[EMBEDDING].shape
    queries, keys = (theirs[f"model.layers.0.self_attn.{x}_proj.weight"].shape[0] for x in "qk")
    if queries != width or width % heads or keys % (width // heads):
        raise ValueError(
            f"{NAME}: expected attention heads of width / heads channels each, got a width of {width}, "
            f"{heads} heads (num_attention_heads), {queries} channels of queries and {keys} of keys"
        )
    return {
        "vocab_size": rows,
        "width": width,
        "depth": num_layers(theirs, "model.layers."),
        "heads": heads,
        "key_value_heads": keys // (width // heads),
        "mlp_width": theirs["model.layers.0.mlp.gate_proj.weight"].shape[0],
    }


def _ddt_head(layout: Layout) -> tuple[Entry, ...]:
    """Return the rows of a flow head whose transformer has a head of its own."""
    statistics = tuple(row for row in FLOW_HEAD.rows if row.ours.startswith("statistics."))
    body = ddt_map(layout.sizes, layout.rope).rows
    return (*(_deeper(row, "dit.", "model.") for row in body), *statistics)


def _deeper(row: Entry, ours: str, theirs: str) -> Entry:
    """Return a row one module deeper."""
    return replace(row, ours=ours + row.ours, theirs=tuple(theirs + name for name in row.theirs))
