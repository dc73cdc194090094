"""RAE's files: what may stand around a decoder, what must not be missing, statistics without a mean."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from unimm.latents import DecoderConfig, RAEDecoder, decoder_config
from unimm.weights import load_strictly
from unimm.weights.rae import (
    decoder_part,
    decoder_sizes,
    read_decoder,
    read_statistics,
    write_decoder,
    write_statistics,
)

CONFIG = DecoderConfig(channels=6, width=32, depth=2, heads=4, mlp_width=48, patch_size=4, grid=3)


@pytest.fixture
def decoder():
    return RAEDecoder(CONFIG)


@pytest.fixture
def published(decoder):
    return write_decoder(decoder.state_dict() | {"positions": decoder.positions})


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_a_file_read_is_our_decoder_and_tells_its_sizes(decoder, published):
    assert equal(read_decoder(published), dict(decoder.state_dict()))
    assert DecoderConfig(**decoder_sizes(published, heads=4)) == CONFIG
    assert published["decoder_pos_embed"].shape == (1, 10, 32)


def test_the_published_size_has_the_published_names_and_needs_no_heads():
    with torch.device("meta"):
        decoder = RAEDecoder(decoder_config("XL", channels=768, patch_size=16))
        theirs = write_decoder(decoder.state_dict() | {"positions": torch.zeros(256, 1152)})
    assert len(theirs) == 456
    assert theirs["decoder_pred.weight"].shape == (768, 1152)
    assert DecoderConfig(**decoder_sizes(theirs)) == decoder.config


@pytest.mark.parametrize(
    "prefix", ["", "module.", "decoder.", "_orig_mod.decoder.", "module.decoder._orig_mod."]
)
def test_prefixes_of_wrappers_and_of_the_autoencoder_are_taken_off(decoder, published, prefix):
    theirs = {prefix + name: x for name, x in published.items()}
    assert equal(read_decoder(theirs), dict(decoder.state_dict()))


def test_a_training_checkpoint_gives_the_chosen_decoder(decoder, published):
    zeros = {name: torch.zeros_like(x) if name != "decoder_pos_embed" else x for name, x in published.items()}
    checkpoint = {
        name: {f"decoder.{k}": x for k, x in state.items()} | {"encoder.encoder.norm.weight": torch.ones(1)}
        for name, state in (("ema", published), ("model", zeros))
    }
    checkpoint |= {"optimizer": {"state": {}}, "step": 7}
    assert equal(read_decoder(checkpoint), dict(decoder.state_dict()))
    assert not read_decoder(checkpoint, "model")["out.weight"].any()
    with pytest.raises(ValueError, match="expected a state dict under 'averaged'"):
        read_decoder(checkpoint, "averaged")


def test_a_file_without_class_token_has_a_zero_one(decoder, published):
    del published["trainable_cls_token"]
    parameters = read_decoder(published)
    assert parameters["class_token"].tolist() == [0] * 32
    load_strictly(decoder, parameters)


def test_gaps_and_strangers_are_listed(published):
    theirs = {f"decoder.{name}": x for name, x in published.items()}
    with pytest.raises(ValueError, match=r"unexpected: discriminator\.head"):
        decoder_part(theirs | {"discriminator.head": torch.ones(1)})
    del theirs["decoder.decoder_norm.bias"], theirs["decoder.decoder_layers.1.layernorm_after.weight"]
    with pytest.raises(
        ValueError, match=r"missing: decoder_layers\.1\.layernorm_after\.weight, decoder_norm\.bias"
    ):
        read_decoder(theirs)
    with pytest.raises(ValueError, match="missing: positions"):
        write_decoder(dict(RAEDecoder(CONFIG).state_dict()))


def test_a_position_table_that_was_trained_is_refused(published):
    published["decoder_pos_embed"] = published["decoder_pos_embed"].flip(1)
    with pytest.raises(ValueError, match="decoder_pos_embed .* is not the fixed sine table"):
        read_decoder(published)


def test_sizes_that_no_tensor_tells_are_asked_for(published):
    with pytest.raises(ValueError, match="a width of 32 was not published; give heads"):
        decoder_sizes(published)
    del published["decoder_pos_embed"]
    with pytest.raises(ValueError, match="missing: decoder_pos_embed"):
        decoder_sizes(published, heads=4)


def test_statistics_go_both_ways():
    mean, variance = torch.randn(9, 6), torch.rand(9, 6)
    theirs = write_statistics(mean, variance)
    assert theirs["var"].shape == (6, 3, 3)
    assert theirs["mean"][4, 1, 2] == mean[5, 4]
    back = read_statistics(theirs)
    assert torch.equal(back[0].flatten(1).mT, mean)
    assert torch.equal(back[1].flatten(1).mT, variance)
    assert read_statistics(write_statistics(None, variance))[0] is None


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        ({"mean": None, "std": torch.ones(1)}, "missing: var; unexpected: std"),
        ({"mean": None, "var": None}, "got None for both"),
        ({"mean": torch.ones(2, 1, 1), "var": torch.ones(3, 1, 1)}, r"got \[2, 1, 1\] and \[3, 1, 1\]"),
        ({"mean": None, "var": torch.ones(3, 1)}, r"expected one shape \[C H W\], got \[3, 1\]"),
        ({"mean": None, "var": -torch.ones(3, 1, 1)}, "var of at least 0, got -1.0"),
        ({"mean": None, "var": torch.ones(3, 1, 1) / 0}, "finite"),
    ],
)
def test_statistics_that_are_none_are_refused(theirs, said):
    with pytest.raises(ValueError, match=said):
        read_statistics(theirs)


def test_a_config_of_the_sizes_builds_the_decoder(published):
    config = dataclasses.replace(CONFIG, **decoder_sizes(published, heads=4))
    load_strictly(RAEDecoder(config), read_decoder(published))
