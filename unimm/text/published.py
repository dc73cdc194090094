"""Text encoders from a local folder in the layout of the published Stable Diffusion 3 pipelines.

text_encoder/    tokenizer/      CLIP-L           config.json and safetensors as transformers writes them
text_encoder_2/  tokenizer_2/    OpenCLIP-bigG
text_encoder_3/  tokenizer_3/    T5-XXL           the folder most often left out
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unimm.text.clip import CLIPConfig
from unimm.text.sd3 import TOWERS, SD3Text, SD3TextConfig, check_towers
from unimm.text.t5 import T5Config
from unimm.text.words import Words, load_clip_words, load_t5_words
from unimm.whole import read_json

FOLDERS = {
    "clip_l": ("text_encoder", "tokenizer"),
    "clip_g": ("text_encoder_2", "tokenizer_2"),
    "t5": ("text_encoder_3", "tokenizer_3"),
}


def load_sd3_text(
    folder: str | os.PathLike[str],
    towers: Sequence[str] | None = None,
    *,
    places: SD3TextConfig | None = None,
    t5_tokens: int = 77,
    dtype: torch.dtype = torch.float32,
) -> SD3Text:
    """Return the text encoders in a folder.

    Args:
        folder: as above.
        towers: which of them to load; None takes those that are there.
        places: sizes of the places of those that are not loaded; None has the published ones.
        t5_tokens: rows of T5's part; 77 in the paper, 256 by default in the published pipelines.
        dtype: of the weights.

    Raises:
        FileNotFoundError: no such folder, none of the encoders in it, or not the one asked for.
        ValueError: a config of another kind of model, or weights with a gap or a surplus, all listed.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"text encoders: expected a folder at {folder}, found none")
    there = [name for name in TOWERS if (root / FOLDERS[name][0]).is_dir()]
    names = there if towers is None else list(towers)
    check_towers(names, "towers", TOWERS)
    missing = [FOLDERS[name][0] for name in names if name not in there]
    if missing or not names:
        expected = ", ".join(missing or [model for model, _ in FOLDERS.values()])
        raise FileNotFoundError(f"text encoders: expected {expected} in {folder}, found none")
    sizes = {name: _sizes(root, name, t5_tokens) for name in names}
    config = replace(places or SD3TextConfig(), **sizes, towers=tuple(names))
    with torch.device("meta"):  # 22 GB are not filled with random numbers first
        text = SD3Text(config)
    for name in names:
        _fill(text.towers[name], _load(root / FOLDERS[name][0], name, dtype), name)
    text.words = load_words(root, names)
    text.reset_tables()
    return text.eval().requires_grad_(False)


def load_words(folder: str | os.PathLike[str], towers: Sequence[str]) -> dict[str, Words]:
    """Return the tokenizers of these towers from the folders beside them."""
    load = {"clip_l": load_clip_words, "clip_g": load_clip_words, "t5": load_t5_words}
    return {name: load[name](Path(folder) / FOLDERS[name][1]) for name in towers}


def save_words(words: dict[str, Words], folder: str | os.PathLike[str]) -> None:
    """Write tokenizers where `load_words` finds them."""
    for name, each in words.items():
        each.save(Path(folder) / FOLDERS[name][1])


def _sizes(root: Path, name: str, t5_tokens: int) -> CLIPConfig | T5Config:
    path = root / FOLDERS[name][0] / "config.json"
    values = read_json(path, of="text encoders")
    kind, expected = values.get("model_type"), "t5" if name == "t5" else "clip_text_model"
    if kind != expected:
        raise ValueError(f"{path}: expected model_type {expected!r} for {name}, got {kind!r}")
    try:
        return _t5_sizes(values, t5_tokens) if name == "t5" else _clip_sizes(values)
    except KeyError as error:
        raise ValueError(f"{path}: expected a value for {error}, found none") from None


def _clip_sizes(values: dict[str, Any]) -> CLIPConfig:
    return CLIPConfig(
        width=values["hidden_size"],
        depth=values["num_hidden_layers"],
        heads=values["num_attention_heads"],
        mlp_width=values["intermediate_size"],
        pooled_width=values["projection_dim"],
        activation=values["hidden_act"],
        vocab_size=values["vocab_size"],
        tokens=values["max_position_embeddings"],
    )


def _t5_sizes(values: dict[str, Any], tokens: int) -> T5Config:
    if values.get("feed_forward_proj") != "gated-gelu":
        raise ValueError(
            "feed_forward_proj: expected 'gated-gelu' (T5 version 1.1), "
            f"got {values.get('feed_forward_proj')!r}"
        )
    return T5Config(
        width=values["d_model"],
        depth=values["num_layers"],
        heads=values["num_heads"],
        head_width=values["d_kv"],
        mlp_width=values["d_ff"],
        vocab_size=values["vocab_size"],
        tokens=tokens,
    )


def _load(folder: Path, name: str, dtype: torch.dtype) -> nn.Module:
    """Return transformers' module with the weights of a folder; a gap or a surplus is refused."""
    from transformers import CLIPTextModelWithProjection, T5EncoderModel

    model_class = T5EncoderModel if name == "t5" else CLIPTextModelWithProjection
    model, found = model_class.from_pretrained(
        folder, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
    )
    faults = {kind: found[f"{kind}_keys"] for kind in ("missing", "unexpected", "mismatched")}
    listed = [f"{kind}: {', '.join(sorted(map(str, keys)))}" for kind, keys in faults.items() if keys]
    if listed:
        raise ValueError(f"{folder}: the tensors do not fit; " + "; ".join(listed))
    return model


def _fill(tower: nn.Module, model: nn.Module, name: str) -> None:
    """Put transformers' loaded module in the place of the one that was built without storage."""
    if name == "t5":
        tower.encoder = model.encoder
    else:
        tower.model = model
