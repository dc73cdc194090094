"""unimm.training.count and inventory: published totals, the parts of the wide head, counting by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.model.small import BODIES, VAE, small_model
from unimm.config import load, to_dict
from unimm.latents.decoder import decoder_config
from unimm.latents.vae import SDVAEConfig
from unimm.model import UniMM, UniMMConfig
from unimm.model.config import ModelSettings
from unimm.training.count import Count, body_room, count, total
from unimm.training.counted_files import count_file, count_settings
from unimm.training.inventory import (
    PROJECTOR,
    bare,
    count_decoder,
    count_latent_space,
    count_named,
    names,
)

TINY = "configs/model/tiny.yaml"

# Million parameters, tables included, and GMAC: computed from the published modules, or as published.
PUBLISHED = {
    "DiT^DH-S": (196.5, 48.5),
    "DiT^DH-B": (294.3, 65.7),
    "DiT^DH-L": (621.7, 123.6),
    "DiT^DH-XL": (838.7, 161.6),
    "DiT^DH-XL 512": (839.6, 702.8),
    "RAE DiT-S": (33.7, 6.2),
    "RAE DiT-B": (131.9, 23.3),
    "RAE DiT-L": (459.9, 81.1),
    "RAE DiT-XL": (677.3, 119.1),
    "LightningDiT-B": (130.6, 23.0),
    "LightningDiT-XL": (675.3, 118.6),
    "LightningDiT-1p0B": (1029, 179.2),
    "LightningDiT-1p6B": (1632, 283.4),
    "Scale-RAE 0.5B": (481, None),
    "Scale-RAE 2.4B": (2436, None),
    "Scale-RAE 3.1B": (3082, None),
    "Scale-RAE 5.5B": (5475, None),
    "Scale-RAE 9.8B": (9729, None),
    "RAE decoder B": (86.4, 23.4),
    "RAE decoder L": (304.2, 81.3),
    "RAE decoder XL": (415.4, 110.8),
    PROJECTOR: (8.13, None),
}


def close(value, published):
    """Compare with a number that was rounded to the digits it shows, two of them twice."""
    digits = len(f"{published}".partition(".")[2]) if isinstance(published, float) else 0
    assert value == pytest.approx(published, abs=0.55 * 10**-digits)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_totals(name):
    found = total(count_named(name))
    parameters, gmac = PUBLISHED[name]
    close((found.parameters + found.tables) / 1e6, parameters)
    if gmac is not None:
        close(found.macs / 1e9, gmac)


def test_the_wide_head_costs_what_its_parts_cost():
    counts = count_named("DiT^DH-XL")
    gmac = {room: found.macs / 1e9 for room, found in counts.items()}
    close(gmac["head attention"] + gmac["head mlp"], 26.3)  # 2 x 13.15
    close(gmac["head modulation"], 12.88)  # 2 x 6.44, per token
    close(gmac["head embedding"] + gmac["bridge"] + 256 * 2048 * 768 / 1e9, 1.4)  # with the last projection
    close(gmac["final"] - 256 * 2048 * 768 / 1e9, 2.15)  # the last modulation
    assert "other" not in counts


def test_sit_with_its_projector_is_repa_s_model():
    found = total(count_named("SiT-XL/2")) + total(count_named(PROJECTOR))
    close((found.parameters + found.tables) / 1e6, 683.2)
    close(found.macs / 1e9, 120.7)


@pytest.mark.parametrize(("depth", "billions"), [(15, 0.50), (18, 0.86), (24, 2.04), (30, 3.98), (38, 8.09)])
def test_the_sizes_of_stable_diffusion_3(depth, billions):
    counts = count_named(f"MM-DiT d={depth}")
    blocks = sum(counts[room].parameters for room in ("attention", "mlp", "modulation"))
    # The rule 36 d (64 d)^2 leaves out biases; text ends early in the last block, which weighs in small ones.
    assert blocks / 1e9 == pytest.approx(billions, rel=0.04)
    assert "other" not in counts


def test_two_wide_blocks_are_the_published_difference():
    narrow, wide = (total(count_named(f"Scale-RAE 2.4B{head}")) for head in ("", " wide head"))
    close((wide.parameters - narrow.parameters) / 1e9, 0.28)


def test_a_vae_s_decoder_costs_what_is_published():
    counts = count_latent_space("sd_vae", SDVAEConfig())
    assert set(counts) == {"encoder", "decoder"}
    assert counts["decoder"].macs / 1e9 == pytest.approx(310.4, rel=0.005)  # theirs leaves out attention


def test_a_decoder_of_twice_the_resolution():
    found = total(count_decoder(decoder_config("XL", channels=768, patch_size=32)))
    close((found.parameters + found.tables) / 1e6, 418.0)
    close(found.macs / 1e9, 111.5)


class Small(nn.Module):
    """A linear layer, a 3 x 3 convolution, and a product of the module's own."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(5, 7)
        self.conv = nn.Conv2d(2, 3, 3, padding=1)
        self.register_buffer("positions", torch.zeros(11))
        self.register_buffer("rope_cos", torch.zeros(13))

    def forward(self, x, image):
        y = self.linear(x)
        return y @ y.mT, self.conv(image)


def test_products_are_counted_where_they_happen():
    module = bare(Small)
    x, image = torch.empty(1, 6, 5, device="meta"), torch.empty(1, 2, 4, 4, device="meta")
    counts = count(module, lambda: module(x, image), lambda path: path.partition(".")[0])
    assert counts == {
        "linear": Count(5 * 7 + 7, 0, 6 * 5 * 7),
        "conv": Count(2 * 3 * 9 + 3, 0, 16 * 2 * 3 * 9),
        "positions": Count(0, 11, 0),
        "": Count(0, 0, 6 * 7 * 6),
    }


@pytest.mark.parametrize(
    ("path", "room"),
    [
        ("blocks.1.attention.qkv.weight", "attention"),
        ("blocks.1.image.projection.qkv", "attention"),
        ("blocks.1", "attention"),
        ("blocks.1.mlp_norm.weight", "mlp"),
        ("blocks.1.text.modulation", "modulation"),
        ("blocks.2.mlp.out", "head mlp"),
        ("final.modulation", "final"),
        ("embed", "embedding"),
        ("head_embed.bias", "head embedding"),
        ("time.out", "time"),
        ("labels.table.weight", "labels"),
        ("context.bias", "text"),
        ("unheard", "other"),
    ],
)
def test_a_path_has_its_room(path, room):
    assert body_room(num_base_blocks=2)(path) == room


def test_a_config_file_is_counted_as_the_model_it_makes():
    settings = load(ModelSettings, TINY)
    with torch.device("meta"):
        model = UniMM(UniMMConfig(settings))
    counts = count_file(TINY)
    assert total(counts).parameters == sum(p.numel() for p in model.parameters())
    assert counts["llm"].macs > 0
    through_a_run = count_file("configs/train/tiny_joint.yaml")
    assert through_a_run == counts
    assert total(count_file(TINY, ["dit.depth=6"])).parameters > total(counts).parameters


SORTS = {"rae": {}, "vae": VAE, "ddt": {"body": "ddt", "dit": BODIES["ddt"]}}


@pytest.mark.parametrize("changes", SORTS.values(), ids=SORTS)
def test_a_unified_model_of_any_sort_is_counted_whole(changes):
    model = small_model(**changes)
    counts = count_settings(to_dict(model.config.settings), "here")
    assert total(counts).parameters == sum(p.numel() for p in model.parameters())


def test_every_target_of_an_alignment_is_counted():
    path = "configs/train/repa_class_conditional.yaml"
    published = "alignment.published=[{name: dinov2-b, file: none.pth, image_size: 70}]"
    one, two = count_file(path), count_file(path, [published])
    assert two.keys() - one.keys() == {"alignment published[0] encoder"}
    found = two["alignment published[0] encoder"].parameters
    assert found == 86_580_480 - 768 - (37**2 - 5**2) * 768  # of the file: no mask token, 5 x 5 places
    further = two["alignment projector"].parameters - one["alignment projector"].parameters
    assert further == 257 * 256 + 257 * 256 + 257 * 768


CONFIGS = sorted(str(path) for path in Path("configs").rglob("*.yaml"))
STARTED = [path for path in CONFIGS if re.search(r"^ *start: ", Path(path).read_text(), re.MULTILINE)]


@pytest.mark.parametrize("path", sorted({*CONFIGS} - {*STARTED}))
def test_every_config_can_be_counted(path):
    counts = count_file(path)
    assert not [room for room in counts if room.endswith("other")]
    assert all(found.parameters + found.tables > 0 for found in counts.values())


@pytest.mark.parametrize("path", STARTED)
def test_a_run_that_goes_on_with_a_model_has_no_sizes(path):
    with pytest.raises(ValueError, match="found none; it goes on with '.*', whose own config"):
        count_file(path)


def test_text_encoders_are_counted_with_the_body_that_reads_them():
    counts = count_file("configs/generator/sd3_medium.yaml")
    sizes = {room: found.parameters / 1e6 for room, found in counts.items() if room.startswith("text")}
    assert set(sizes) == {"text clip_l", "text clip_g", "text t5"}
    close(sizes["text clip_l"], 123.65)  # CLIP ViT-L/14's text model with its projection
    close(sizes["text t5"], 4762.31)  # the encoder of T5 v1.1 XXL
    few = count_file("configs/generator/sd3_medium.yaml", ["text.t5.tokens=77"])
    assert few["dit mlp"].macs < counts["dit mlp"].macs


def test_a_generator_s_sections_are_counted(tmp_path):
    decoder = "{channels: 8, width: 16, depth: 1, heads: 2, mlp_width: 32, patch_size: 2, grid: 4}"
    encoder = "{image_size: 8, patch_size: 2, width: 8, depth: 1, heads: 2, mlp_width: 16}"
    body = (
        "{kind: ddt, channels: 8, width: 16, depth: 1, heads: 2, condition_width: 16, grid: 4, head_heads: 4,"
    )
    path = tmp_path / "small.yaml"
    latents = f"{{kind: rae, encoder: {encoder}, decoder: {decoder}}}"
    path.write_text(f"generator:\n  body: {body} head_width: 32, num_classes: 3}}\n  latents: {latents}\n")
    counts = count_file(path)
    assert {"dit attention", "dit head attention", "dit labels", "encoder", "decoder"} <= set(counts)
    path.write_text(f"latents: {latents}\nbody: {{kind: dtt}}\n")
    with pytest.raises(ValueError, match="did you mean 'ddt'"):
        count_file(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1\n", "expected a YAML mapping"),
        ("a: {b: [}\n", "could not read YAML"),
        ("train: {output: runs}\n", "expected at least one of the sections encoder"),
        ("decoder: {width: 8}\n", "missing keys"),
        ("body: {width: 8}\n", "body: expected a kind"),
        ("latents: runs/latents\n", "expected at least one of the sections encoder"),
    ],
)
def test_a_file_that_holds_nothing_to_count_is_refused(tmp_path, text, message):
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        count_file(path)


def test_names_that_nobody_published_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match=re.escape("did you mean 'DiT^DH-XL'")):
        count_named("DiTDH-XL")
    with pytest.raises(FileNotFoundError, match=r"did you mean .*tiny\.yaml"):
        count_file("configs/model/tiney.yaml")
    assert set(PUBLISHED) <= set(names())
