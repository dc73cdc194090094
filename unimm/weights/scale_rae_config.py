"""Scale-RAE's config.json: what it must say, and what it says again that the tensors have said already."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from unimm.weights.folder import refuse
from unimm.weights.scale_rae import dit_sizes
from unimm.weights.scale_rae_ddt import ddt_sizes
from unimm.weights.scale_rae_model import HEAD, LM_HEAD, NAME, body_kind, llm_sizes

MODEL_TYPE = "cambrian_qwen"
LOSSES = ("diffusion-loss", "ddt-loss")
"""Values of `vision_loss` that build a flow head; "ddt-loss" gives it a head as wide as its base."""
SHIFT_BASE, DROPPED = 4096, 0.1
"""`diffusion_base_dim` and `diffusion_class_dropout_prob` of the published recipes."""

ONLY = {
    "vision_loss_mode": "query",
    "dit_cls": "DiT",
    "mm_vision_select_layer": -1,
    "mm_use_im_start_end": True,
    "hidden_act": "silu",
    "use_sliding_window": False,
    "rope_scaling": None,
}
"""Fields whose other values would make another network; absent, they have these."""

Contradiction = tuple[str, Any, Any]
"""(field, what config.json says, what the tensors say)."""


def check_fields(values: Mapping[str, Any], name: str) -> None:
    """Refuse a config of another network.

    Args:
        values: a parsed config.json.
        name: what errors call it.

    Raises:
        ValueError: another model_type, no loss that builds a flow head, or fields with other values than
            those that are read here, all of them listed.
    """
    kind = values.get("model_type")
    if kind != MODEL_TYPE:
        raise ValueError(f"{name}: expected model_type {MODEL_TYPE!r}, got {kind!r}")
    loss = values.get("vision_loss")
    if loss not in LOSSES:
        raise ValueError(
            f"{name}: expected vision_loss {' or '.join(map(repr, LOSSES))}, got {loss!r}; without it the "
            "published code builds no diffusion head, so the weights of one would be lost: if the folder "
            'holds "diff_head" tensors, add "vision_loss": "diffusion-loss" to its config.json'
        )
    wrong = [
        f"{field} ({values[field]!r}, read here is {wanted!r})"
        for field, wanted in ONLY.items()
        if values.get(field, wanted) != wanted
    ]
    if not re.fullmatch(r"mlp\d+x_gelu", str(values.get("mm_projector_type", "mlp2x_gelu"))):
        wrong.append(f"mm_projector_type ({values['mm_projector_type']!r}, read here is 'mlp2x_gelu')")
    if wrong:
        raise ValueError(f"{name}: expected the fields of the published models, got {', '.join(wrong)}")


def model_sizes(
    values: Mapping[str, Any], theirs: Mapping[str, Tensor], name: str
) -> tuple[dict[str, Any], list[Contradiction]]:
    """Return the sizes of a whole model, and where its config says otherwise.

    Args:
        values: its config.json.
        theirs: its tensors, or their headers.
        name: what errors call the config.

    Returns:
        Sizes named as in ModelSettings, with those of the rooms under "llm" and "dit", and besides
        "seen_channels", the width of the latents that the language model sees; and every contradiction.

    Raises:
        ValueError: a tensor or a field that tells a size is absent.
    """
    heads = _number(values, "num_attention_heads", name)
    llm = llm_sizes(theirs, heads)
    body = body_kind(theirs)
    dit = BODY_SIZES[body](values, theirs)
    projector = [key for key in theirs if re.fullmatch(r"model\.mm_projector\.\d+\.weight", key)]
    refuse(NAME, missing=[] if projector else ["model.mm_projector.0.weight"])
    sizes = {
        "llm": llm
        | {
            "context": int(values.get("max_position_embeddings", 32768)),
            "tied_embeddings": bool(values.get("tie_word_embeddings", False)),
            "rope_theta": _rope_theta(values, name),
            "norm_eps": float(values.get("rms_norm_eps", 1e-6)),
            "init_std": float(values.get("initializer_range", 0.02)),
        },
        "body": body,
        "dit": dit,
        "num_queries": theirs["model.latent_queries"].shape[0],
        "seen_channels": theirs[min(projector)].shape[1],
        "connector_depth": 1,
        "projector_depth": len(projector),
        "shift_base": int(values.get("diffusion_base_dim") or SHIFT_BASE),
        "null_probability": _null_probability(values, dit),
    }
    return sizes, _contradictions(values, sizes)


def new_config(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config.json of a model that never had one.

    Args:
        sizes: in the form that `model_sizes` gives, and besides "tower", the vision tower's hub id, and
            "drawn", None where its latents are drawn.
    """
    llm, dit = sizes["llm"], sizes["dit"]
    own = sizes["body"] == "ddt" and dit["head_width"] != dit["width"]
    depth = dit["depth"] + (dit.get("head_depth", 0) if sizes["body"] == "ddt" else 0)
    values = {
        "architectures": ["ScaleRAEQwenForCausalLM"],
        "model_type": MODEL_TYPE,
        "vocab_size": llm["vocab_size"],
        "hidden_size": llm["width"],
        "num_hidden_layers": llm["depth"],
        "num_attention_heads": llm["heads"],
        "num_key_value_heads": llm["key_value_heads"],
        "intermediate_size": llm["mlp_width"],
        "max_position_embeddings": llm["context"],
        "tie_word_embeddings": llm["tied_embeddings"],
        "rope_theta": llm["rope_theta"],
        "rms_norm_eps": llm["norm_eps"],
        "initializer_range": llm["init_std"],
        "mm_vision_tower_aux_list": [sizes["tower"]],
        "mm_vision_tower_aux_token_len_list": [sizes["num_queries"]],
        "vision_tower_aux_token_len_list": [sizes["num_queries"]],
        "mm_projector_type": f"mlp{sizes['projector_depth']}x_gelu",
        "mm_use_im_patch_token": False,
        "image_aspect_ratio": "square",
        "vision_loss": "ddt-loss" if sizes["body"] == "ddt" and not own else "diffusion-loss",
        "diffusion_model_channels": dit["channels"],
        "diffusion_model_z_channels": dit["condition_width"],
        "diffusion_model_hidden_size": [dit["width"], dit["head_width"]] if own else dit["width"],
        "diffusion_model_depth": [dit["depth"], dit["head_depth"]] if own else depth,
        "diffusion_model_heads": [dit["heads"], dit["head_heads"]] if own else dit["heads"],
        "ddt_encoder_depth": dit["depth"],
        "diffusion_base_dim": sizes["shift_base"],
        "diffusion_class_dropout_prob": sizes["null_probability"],
    }
    return ONLY | values | ({"generation_alignment_tower": "decoder"} if sizes["drawn"] else {})


def refuse_contradictions(found: Sequence[Contradiction], name: str) -> None:
    """Raise one ValueError that names every field and both numbers, if there are any."""
    if found:
        listed = ", ".join(
            f"{field} is {said!r} there and {told!r} in the tensors" for field, said, told in found
        )
        raise ValueError(
            f"{name}: contradicts the tensors beside it: {listed}; one of the two is of another model"
        )


def missing_head(values: Mapping[str, Any], theirs: Mapping[str, Tensor]) -> bool:
    """Return whether the head of the language model is neither stored nor tied to the embedding."""
    return LM_HEAD not in theirs and not values.get("tie_word_embeddings", False)


def _lightning_sizes(values: Mapping[str, Any], theirs: Mapping[str, Tensor]) -> dict[str, Any]:
    table, inside = f"{HEAD}feat_rope.freqs_cos", f"{HEAD}dit_blocks.0.mlp.w3.weight"
    heads = values.get("diffusion_model_heads")
    if table not in theirs and isinstance(heads, int) and f"{HEAD}x_embedder.proj.weight" in theirs:
        width = theirs[f"{HEAD}x_embedder.proj.weight"].shape[0]
        shape = len(theirs["model.latent_queries"]), width // heads
        theirs = {**theirs, table: torch.empty(shape, device="meta")}  # a constant, which files may leave out
    refuse(NAME, missing=[] if inside in theirs else [inside])
    return dit_sizes(theirs, HEAD) | {"mlp_width": theirs[inside].shape[1]}


def _ddt_sizes(values: Mapping[str, Any], theirs: Mapping[str, Tensor]) -> dict[str, Any]:
    depth = values.get("diffusion_model_depth")
    base = depth[0] if isinstance(depth, list) and depth else values.get("ddt_encoder_depth")
    # A base as wide as its head and its conditions does not tell where it ends.
    return ddt_sizes(theirs, HEAD, **({"depth": base} if isinstance(base, int) else {}))


BODY_SIZES = {"lightning": _lightning_sizes, "ddt": _ddt_sizes}


def _contradictions(values: Mapping[str, Any], sizes: Mapping[str, Any]) -> list[Contradiction]:
    """Return the fields of a config that do not say what the tensors say; absent fields say nothing."""
    llm, dit = sizes["llm"], sizes["dit"]
    head = sizes["body"] == "ddt" and isinstance(values.get("diffusion_model_hidden_size"), list)
    whole_depth = dit["depth"] + dit.get("head_depth", 0)
    told = {
        "vocab_size": llm["vocab_size"],
        "hidden_size": llm["width"],
        "num_hidden_layers": llm["depth"],
        "num_key_value_heads": llm["key_value_heads"],
        "intermediate_size": llm["mlp_width"],
        "diffusion_model_channels": dit["channels"],
        "diffusion_model_z_channels": dit["condition_width"],
        "diffusion_model_hidden_size": [dit["width"], dit["head_width"]] if head else dit["width"],
        "diffusion_model_depth": [dit["depth"], dit["head_depth"]] if head else whole_depth,
        "diffusion_model_heads": [dit["heads"], dit["head_heads"]] if head else dit["heads"],
    }
    tokens = [sizes["num_queries"]]
    found = [
        (field, values[field], tokens)
        for field in ("mm_vision_tower_aux_token_len_list", "vision_tower_aux_token_len_list")
        if values.get(field) not in (None, tokens)
    ]
    return [
        (f, values[f], x) for f, x in told.items() if values.get(f) is not None and values[f] != x
    ] + found


def _null_probability(values: Mapping[str, Any], dit: Mapping[str, Any]) -> float:
    said = values.get("diffusion_class_dropout_prob")
    if not dit["guidable"]:
        return 0.0  # nothing can stand in for dropped conditions
    return DROPPED if said is None else float(said)


def _rope_theta(values: Mapping[str, Any], name: str) -> float:
    """Return the base of the rotary positions, as transformers before and since version 5 says it."""
    new = values.get("rope_parameters") or {}
    if new.get("rope_type", "default") != "default":
        raise ValueError(f"{name}: expected rope_type 'default', got {new['rope_type']!r}")
    return float(_number({**new, **values}, "rope_theta", name))


def _number(values: Mapping[str, Any], field: str, name: str) -> Any:
    """Return a field that no tensor tells."""
    if not isinstance(values.get(field), int | float) or isinstance(values.get(field), bool):
        raise ValueError(
            f"{name}: expected a number for {field}, which no tensor tells, got {values.get(field)!r}"
        )
    return values[field]
