"""Scale-RAE's pixel decoders: `config.json`, a masked autoencoder's, and `model.pt`, a flat state dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from unimm.weights.rae import decoder_sizes
from unimm.weights.scale_rae_config import Contradiction

WEIGHTS = "model.pt"
NAME = "Scale-RAE decoder"
FIELDS = {
    "width": "decoder_hidden_size",
    "depth": "decoder_num_hidden_layers",
    "heads": "decoder_num_attention_heads",
    "mlp_width": "decoder_intermediate_size",
    "patch_size": "patch_size",
}
"""Their names of our sizes."""
ONLY = {"hidden_act": "gelu", "qkv_bias": True, "num_channels": 3}
"""Fields whose other values would make another network; absent, they have these."""
NORM_EPS = 1e-12
"""`layer_norm_eps` where the config has none: the masked autoencoder's own."""


def is_decoder_config(values: Mapping[str, Any]) -> bool:
    """Return whether a parsed config.json is a pixel decoder's."""
    return "decoder_hidden_size" in values


def pixel_decoder_sizes(
    values: Mapping[str, Any], theirs: Mapping[str, Tensor], name: str
) -> tuple[dict[str, Any], list[Contradiction]]:
    """Return the sizes of a decoder, named as in DecoderConfig, and where its config says otherwise.

    Args:
        values: its config.json; `hidden_size` in it means nothing, the latents' channels are the tensors'.
        theirs: its tensors, or their headers.
        name: what errors call the config.

    Raises:
        ValueError: another kind of config, another network, or a tensor that tells a size is absent.
    """
    if not is_decoder_config(values):
        raise ValueError(f"{name}: expected a decoder's config with {FIELDS['width']}, found none")
    wrong = [
        f"{field} ({values[field]!r}, read here is {wanted!r})"
        for field, wanted in ONLY.items()
        if values.get(field, wanted) != wanted
    ]
    if wrong:
        raise ValueError(f"{name}: expected a decoder as published, got {', '.join(wrong)}")
    heads = values.get(FIELDS["heads"])
    if not isinstance(heads, int):
        raise ValueError(
            f"{name}: expected a number for {FIELDS['heads']}, which no tensor tells, got {heads!r}"
        )
    sizes = decoder_sizes(theirs, heads=heads)
    told = {theirs_: sizes[ours] for ours, theirs_ in FIELDS.items()}
    told["image_size"] = sizes["grid"] * sizes["patch_size"]
    contradictions = [
        (f, values[f], x) for f, x in told.items() if values.get(f) is not None and values[f] != x
    ]
    return sizes | {"norm_eps": float(values.get("layer_norm_eps", NORM_EPS))}, contradictions


def pixel_decoder_values(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config.json of a decoder of these sizes, named as in DecoderConfig."""
    return {
        "architectures": ["ViTMAEForPreTraining"],
        "model_type": "vit_mae",
        **{theirs: sizes[ours] for ours, theirs in FIELDS.items()},
        "image_size": sizes["grid"] * sizes["patch_size"],
        "hidden_size": sizes["channels"],
        "layer_norm_eps": sizes["norm_eps"],
        **ONLY,
    }
