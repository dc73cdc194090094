"""What is timed: the built-in model, and models of any size whose weights are random."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial

import torch

from unimm.dit.config import DiTConfig
from unimm.latents.decoder import DecoderConfig, decoder_config
from unimm.latents.encoder import EncoderConfig
from unimm.latents.encoders.presets import encoder_preset
from unimm.llm.qwen import LLMConfig
from unimm.model import ModelSettings, UniMM, UniMMConfig
from unimm.tables import pick
from unimm.text.tokenizer import encode, special_ids
from unimm.training.inference.memory import weight_bytes
from unimm.training.verification import SYSTEMS

LOUD = 40.0
"""Size of the two numbers by which a model of random weights knows what to answer."""


def mid_settings() -> ModelSettings:
    """Return a model between the built-in and the published ones: 256 tokens, width 512."""
    return ModelSettings(
        encoder=EncoderConfig(224, 14, 384, 4, 6, 1536),
        decoder=DecoderConfig(384, 384, depth=4, heads=6, mlp_width=1536, patch_size=14, grid=16),
        llm=LLMConfig(512, 512, 4, 8, 2, 1536, 2048),
        dit=DiTConfig(channels=384, width=512, depth=4, heads=8, condition_width=512, grid=16),
        num_queries=256,
    )  # fmt: skip


def published_settings(system: str) -> ModelSettings:
    """Return the settings of a published model, a row of SYSTEMS, with its encoder and decoder."""
    sizes, tower = SYSTEMS[system], encoder_preset("siglip2-so400m").config
    kind, body = sizes.body
    colours = {"pixel_mean": tower.pixel_mean, "pixel_std": tower.pixel_std}
    return ModelSettings(
        encoder=tower,
        decoder=decoder_config("XL", tower.width, 14, **colours),
        llm=sizes.llm,
        body=kind,
        dit=body,
        num_queries=body.grid**2,
        connector_depth=1,
    )


PUBLISHED = {
    name.removeprefix("Scale-RAE ").replace(" ", ""): partial(published_settings, name) for name in SYSTEMS
}
"""Settings of the published models by their sizes."""
RANDOM: dict[str, Callable[[], ModelSettings]] = {"mid": mid_settings, **PUBLISHED}
"""Settings of the models of random weights."""
SUBJECTS = ("tiny", *RANDOM)


@cache
def settings_of(name: str) -> ModelSettings:
    """Return the settings of a subject.

    Raises:
        ValueError: no such subject; the nearest is suggested.
    """
    pick("model", name, dict.fromkeys(SUBJECTS))
    return built_in().config.settings if name == "tiny" else RANDOM[name]()


@cache
def built_in() -> UniMM:
    """Return the built-in model, float32 on the CPU."""
    return UniMM.from_pretrained("tiny").eval()


def build(name: str, dtype: torch.dtype, device: torch.device) -> UniMM:
    """Return a subject, ready to draw.

    Raises:
        ValueError: no such subject, or a published size on a device that does not hold it.
    """
    settings = settings_of(name)
    if name == "tiny":
        return UniMM.from_pretrained("tiny", dtype=dtype).eval().to(device)
    if name in PUBLISHED:
        _refuse_without_room(name, settings, dtype, device)
    with torch.device(device), default_dtype(dtype):
        model = UniMM(UniMMConfig(settings))
    model.statistics.float()
    model.tokenizer = built_in().tokenizer
    with torch.no_grad():
        for parameter in model.dit.parameters():  # fresh ones are zero where it matters
            parameter.normal_(std=0.02)
    answer_yes(model)
    return model.eval()


@torch.no_grad()
def answer_yes(model: UniMM) -> None:
    """Make a model of random weights answer every question with yes and its end, as trained ones do.

    The first channel says "a token was read", the second "it was yes"; no layer writes to them, and the head
    hears them above all others.
    """
    yes, end = encode(model.tokenizer, "yes")[0], special_ids(model.tokenizer).turn_end
    for layer in model.llm.model.layers:
        layer.self_attn.o_proj.weight[:2] = 0
        layer.mlp.down_proj.weight[:2] = 0
    table, head = model.llm.get_input_embeddings().weight, model.llm.lm_head.weight
    for weight in (table, head):
        weight[:, 0], weight[:, 1] = LOUD, 0
        weight[yes, :2] = LOUD * torch.tensor([5.0, 4.0]).to(weight)
        weight[end, 1] = 20 * LOUD


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """While it lasts, new floating-point tensors have this dtype unless they say another."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _refuse_without_room(
    name: str, settings: ModelSettings, dtype: torch.dtype, device: torch.device
) -> None:
    wanted, there = weight_bytes(settings, dtype), 0
    if device.type == "cuda":
        there = torch.cuda.mem_get_info(device)[0]
    if wanted > there:
        raise ValueError(
            f"model: {name} needs a GPU with room for {wanted / 1e9:.1f} GB of weights ({dtype}), got "
            f"{device} with {there / 1e9:.1f} GB; --computed tells anywhere what it takes"
        )
