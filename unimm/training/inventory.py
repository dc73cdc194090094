"""Everything that can be counted: published networks by name, and every kind of room by its config."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from unimm.alignment.projector import Projectors
from unimm.dit.bodies import body_classes
from unimm.dit.presets import PRESETS
from unimm.latents.autoencoder import build_latent_space
from unimm.latents.decoder import DECODERS, DecoderConfig, RAEDecoder, decoder_config
from unimm.latents.encoder import EncoderConfig, build_encoder
from unimm.latents.targets import Target, TargetConfig
from unimm.llm.decoding import llm_states
from unimm.llm.qwen import LLMConfig, build_llm
from unimm.text.sd3 import SD3Text, SD3TextConfig, Tokens
from unimm.training.count import Counts, body_room, count
from unimm.training.examples import TEXT_TOKENS, example

DECODER_NAMES = {f"RAE decoder {size}": size for size in DECODERS}
"""On DINOv2-B's latents, 256 tokens to 256 pixels."""
PROJECTOR = "REPA projector"
"""Of SiT-XL/2 to DINOv2-B, 256 tokens; trained beside the body, not needed to draw."""


def names() -> list[str]:
    """Return the names of all that is published and can be counted."""
    return [*PRESETS, *DECODER_NAMES, PROJECTOR]


def count_named(name: str) -> Counts:
    """Return the counts, room by room, of a published network.

    Raises:
        ValueError: no such name; the nearest are suggested.
    """
    if name in PRESETS:
        return count_body(*PRESETS[name])
    if name in DECODER_NAMES:
        return count_decoder(decoder_config(DECODER_NAMES[name], channels=768, patch_size=16))
    if name == PROJECTOR:
        return count_projectors(1152, [768], num_tokens=256)
    near = difflib.get_close_matches(name, names(), n=3, cutoff=0.4)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise ValueError(f"name: {name!r} is no published network{hint} (--list shows them all)")


def count_body(kind: str, config: Any, text_tokens: int = TEXT_TOKENS) -> Counts:
    """Return the counts of a DiT body, one picture on its own square grid; text where it reads some."""
    body = bare(lambda: body_classes(kind)[1](config))
    given = example(config, 1, "meta", text_tokens)
    has_head = hasattr(config, "head_depth")
    return count(body, lambda: body(*given.arguments), body_room(config.depth if has_head else None))


def count_encoder(config: EncoderConfig) -> Counts:
    """Return the counts of a vision encoder, for one picture of its own size."""
    encoder = bare(lambda: build_encoder(config))
    pixels = torch.empty(1, 3, config.image_size, config.image_size, device="meta")
    return count(encoder, lambda: encoder(pixels), lambda path: "encoder")


def count_target(config: TargetConfig) -> Counts:
    """Return the counts of a published target of REPA, for one picture of its own size."""
    target = bare(lambda: Target(config))
    pixels = torch.empty(1, 3, config.image_size, config.image_size, device="meta")
    return count(target, lambda: target(pixels), lambda path: "encoder")


def count_decoder(config: DecoderConfig) -> Counts:
    """Return the counts of an RAE decoder, for one picture."""
    decoder = bare(lambda: RAEDecoder(config))
    latents = torch.empty(1, config.grid**2, config.channels, device="meta")
    return count(decoder, lambda: decoder(latents), lambda path: "decoder")


def count_projectors(
    width: int, target_widths: Sequence[int], num_tokens: int, hidden_width: int = 2048
) -> Counts:
    """Return the counts of REPA's projectors."""
    projectors = bare(lambda: Projectors(width, target_widths, hidden_width))
    hidden = torch.empty(1, num_tokens, width, device="meta")
    return count(projectors, lambda: projectors(hidden), lambda path: "projector")


def count_llm(config: LLMConfig, num_positions: int) -> Counts:
    """Return the counts of a language model reading so many positions, its output layer left out."""
    llm = bare(lambda: build_llm(config))
    embeds = torch.empty(1, num_positions, config.width, device="meta")
    return count(llm, lambda: llm_states(llm, embeds), lambda path: "llm")


def count_text(config: SD3TextConfig) -> Counts:
    """Return the counts of SD3's text encoders, each reading all the tokens it has places for."""
    text = bare(lambda: SD3Text(config))
    ids = {
        name: torch.zeros(1, tower.config.tokens, dtype=torch.int64, device="meta")
        for name, tower in text.towers.items()
    }
    return count(text, lambda: text(Tokens(ids, {}, 1)), _tower)


def _tower(path: str) -> str:
    tower = re.match(r"towers\.(\w+)", path)
    return f"text {tower[1]}" if tower else "text"


def count_latent_space(kind: str, config: Any) -> Counts:
    """Return the counts of a latent space's two ways, for one picture of its own size.

    Raises:
        ValueError: no such kind.
        ImportError: a VAE without diffusers.
    """
    space = bare(lambda: build_latent_space(kind, config))
    seen = getattr(config, "encoder", config).image_size
    pixels = torch.empty(1, 3, seen, seen, device="meta")
    latents = torch.empty(1, config.grid**2, config.channels, device="meta")
    return count(space, lambda: (space.encode(pixels), space(latents)), _way)


def _way(path: str) -> str:
    return "encoder" if re.match(r"(tower\.)?(encoder|quant_conv)\b", path) else "decoder"


def bare(make: Callable[[], nn.Module]) -> nn.Module:
    """Return a module without numbers, in evaluation."""
    with torch.device("meta"):
        return make().eval()
