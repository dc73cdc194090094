"""The published models in full size, from headers alone: their counts are those of the published tables."""

from __future__ import annotations

import json
import struct

import pytest
import torch

from tests.model.published.official import Sizes, dit_shapes, model_config, model_shapes
from unimm.dit.presets import preset
from unimm.latents.decoder import decoder_config
from unimm.latents.encoders.presets import encoder_preset
from unimm.llm.qwen import LLMConfig
from unimm.model import ModelSettings, UniMM, UniMMConfig
from unimm.model.published.inspecting import inspect
from unimm.weights.scale_rae_config import model_sizes
from unimm.weights.scale_rae_model import layout_of, model_map
from unimm.weights.scale_rae_published import MODELS

QWEN_1_5B = {
    "rows": 151667,
    "width": 1536,
    "depth": 28,
    "heads": 12,
    "key_heads": 2,
    "mlp": 8960,
    "tied": True,
}
QWEN_7B = {
    "rows": 151667,
    "width": 3584,
    "depth": 28,
    "heads": 28,
    "key_heads": 4,
    "mlp": 18944,
    "tied": False,
}
DIT = {"tokens": 256, "channels": 1152, "seen": 1152, "dit_depth": 32, "dit_heads": 32}
PUBLISHED = {
    "nyu-visionx/Scale-RAE-Qwen1.5B_DiT2.4B": Sizes(**QWEN_1_5B, **DIT, dit_width=2048, condition=2048),
    "nyu-visionx/Scale-RAE-Qwen7B_DiT9.8B": Sizes(**QWEN_7B, **DIT, dit_width=4096, condition=4096),
    "nyu-visionx/Scale-RAE-Qwen1.5B_DiT2.4B-WebSSL": Sizes(
        **QWEN_1_5B, **DIT | {"channels": 1024, "seen": 1024}, dit_width=2048, condition=2048
    ),
}
BILLIONS = {2048: 2.436, 4096: 9.729}
"""Parameters of the diffusion transformers on 1152 channels, by width, with the stored position table."""


def headers(sizes: Sizes) -> dict[str, torch.Tensor]:
    """Return a file's tensors without storage, rotary tables included."""
    table = sizes.tokens, sizes.dit_width // sizes.dit_heads
    shapes = model_shapes(sizes) | {"diff_head.model.pos_embed": (1, sizes.tokens, sizes.dit_width)}
    shapes |= {f"diff_head.model.feat_rope.freqs_{x}": table for x in ("cos", "sin")}
    return {name: torch.empty(shape, dtype=torch.bfloat16, device="meta") for name, shape in shapes.items()}


def planned(sizes: Sizes) -> UniMM:
    """Return the model of these headers, without storage."""
    found, contradictions = model_sizes(model_config(sizes), headers(sizes), "config.json")
    assert not contradictions
    tower = encoder_preset("siglip2-so400m" if sizes.seen == 1152 else "webssl-300m").config
    colours = {"pixel_mean": tower.pixel_mean, "pixel_std": tower.pixel_std}
    rooms = {name: value for name, value in found.items() if name not in ("llm", "seen_channels")}
    settings = ModelSettings(
        encoder=tower,
        decoder=decoder_config("XL", sizes.channels, 14, **colours),
        llm=LLMConfig(**found["llm"]),
        **rooms,
    )
    with torch.device("meta"):
        return UniMM(UniMMConfig(settings))


def count(room) -> int:
    return sum(p.numel() for p in room.parameters())


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_full_model_has_the_shapes_and_counts_of_the_tables(name):
    sizes = PUBLISHED[name]
    theirs, model = headers(sizes), planned(sizes)
    parameters, _ = model_map(layout_of(theirs, "lightning")).read(theirs)
    ours = model.state_dict()
    own = {k: x.shape for k, x in ours.items() if not k.startswith(("encoder.", "decoder.", "statistics."))}
    if sizes.tied:
        del own["llm.lm_head.weight"]
    assert {k: x.shape for k, x in parameters.items()} == own

    w, kv, mlp = sizes.width, sizes.keys, sizes.mlp
    layer = (
        2 * w * w + 2 * w * kv + 3 * w * mlp + w + 2 * kv + 2 * w
    )  # Qwen2's, biases of q, k and v included
    rows = sizes.rows * w * (1 if sizes.tied else 2)
    assert count(model.llm) == rows + sizes.depth * layer + w
    if sizes.channels == 1152:
        table = sizes.tokens * sizes.dit_width
        assert round((count(model.dit) + table) / 1e9, 3) == BILLIONS[sizes.dit_width]
    assert count(model.queries) == 256 * w
    assert count(model.connector) == sizes.dit_width * (w + 1)
    assert count(model.projector) == w * (sizes.channels + 1) + w * (w + 1)
    assert count(model.decoder) == pytest.approx(415e6, rel=0.01)


@pytest.mark.parametrize("width", BILLIONS)
def test_the_preset_and_the_headers_make_the_same_transformer(width):
    sizes = Sizes(**DIT, dit_width=width, condition=width)
    kind, config = preset({2048: "Scale-RAE 2.4B", 4096: "Scale-RAE 9.8B"}[width])
    found = model_sizes(model_config(sizes), headers(sizes), "config.json")[0]
    assert found["body"] == kind
    assert {key: getattr(config, key) for key in found["dit"] if key != "mlp_width"} == {
        key: value for key, value in found["dit"].items() if key != "mlp_width"
    }
    assert found["dit"]["mlp_width"] == int(2 / 3 * 4 * width)
    total = sum(torch.Size(shape).numel() for shape in dit_shapes(sizes).values()) + sizes.tokens * width
    assert round(total / 1e9, 3) == BILLIONS[width]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_folder_of_headers_is_recognised_as_the_published_model(name, tmp_path):
    sizes = PUBLISHED[name]
    write_headers(tmp_path, headers(sizes), model_config(sizes))
    report = inspect(tmp_path)
    assert report.kind == "scale_rae"
    assert (report.nearest, report.differs, report.contradictions) == (name, [], [])
    assert report.nearest in MODELS
    assert not report.faults
    assert report.num_numbers == sum(x.numel() for x in headers(sizes).values())


def write_headers(folder, tensors, values, num_shards: int = 4) -> None:
    """Write a folder whose files have the size of the full model and hold nothing but holes."""
    (folder / "config.json").write_text(json.dumps(values))
    names, weight_map = list(tensors), {}
    for shard in range(num_shards):
        file, end, header = f"model-{shard + 1:05d}-of-{num_shards:05d}.safetensors", 0, {}
        for name in names[shard::num_shards]:
            x = tensors[name]
            header[name] = {"dtype": "BF16", "shape": list(x.shape), "data_offsets": [end, end + x.nbytes]}
            end += x.nbytes
            weight_map[name] = file
        text = json.dumps(header).encode()
        with (folder / file).open("wb") as out:
            out.write(struct.pack("<Q", len(text)) + text)
            out.truncate(8 + len(text) + end)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
