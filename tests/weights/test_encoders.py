"""Tables of the encoders' names, against what transformers itself writes, and the sizes read from tensors."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from tests.latents import towers
from unimm.latents import EncoderConfig, build_encoder, load_encoder
from unimm.weights.encoders import ENCODER_MAPS, encoder_sizes, read_encoder
from unimm.weights.folder import load_strictly

BEFORE = {"siglip2": "vision_model.", "mae": "vit."}


@pytest.fixture(params=sorted(ENCODER_MAPS))
def hub(request, tmp_path):
    """A kind, a folder of the hub's layout, its tensors, and what stands before the tower's names."""
    build, _ = towers.TOWERS[request.param]
    build().save_pretrained(tmp_path)
    return request.param, tmp_path, load_file(tmp_path / "model.safetensors"), BEFORE.get(request.param, "")


def test_a_tower_read_by_name_is_the_one_that_transformers_reads(hub):
    kind, folder, theirs, prefix = hub
    sizes = encoder_sizes(theirs, kind, prefix)
    wanted = load_encoder(folder, kind)
    assert sizes == {name: getattr(wanted.config, name) for name in sizes}
    encoder = build_encoder(EncoderConfig(**sizes, image_size=sizes["native_size"], heads=2, kind=kind))
    load_strictly(encoder, read_encoder(theirs, kind, prefix))
    assert all(torch.equal(x, wanted.state_dict()[name]) for name, x in encoder.state_dict().items())


def test_our_names_written_and_read_back_are_ours(hub):
    kind, folder, theirs, prefix = hub
    ours = load_encoder(folder, kind).state_dict()
    written = ENCODER_MAPS[kind].write(ours, prefix)
    assert all(torch.equal(x, theirs[name]) for name, x in written.items())
    again = read_encoder(written, kind, prefix)
    assert again.keys() == ours.keys()


def test_what_is_missing_is_named(hub):
    kind, _, theirs, prefix = hub
    [patches] = (n for n in theirs if n.startswith(f"{prefix}embeddings.patch") and n.endswith(".weight"))
    del theirs[patches]
    with pytest.raises(ValueError, match=f"missing: {patches}"):
        read_encoder(theirs, kind, prefix)
    with pytest.raises(ValueError, match=f"missing: {patches}"):
        encoder_sizes(theirs, kind, prefix)


def test_an_unknown_kind_suggests_the_nearest():
    with pytest.raises(ValueError, match="got 'dino'; did you mean 'dinov2reg'"):
        read_encoder({}, "dino")
