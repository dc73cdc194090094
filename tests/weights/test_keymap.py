"""Tables of names: both directions, every form, every gap named."""

from __future__ import annotations

import pytest
import torch

from unimm.dit import DiTConfig, LightningDiT
from unimm.latents import DecoderConfig, EncoderConfig, RAEDecoder, SiglipEncoder
from unimm.weights import DECODER, DIT, SIGLIP, SIGLIP_WITH_HEAD, dit_sizes

SIZES = {
    "channels": 6,
    "width": 32,
    "depth": 3,
    "heads": 2,
    "condition_width": 12,
    "grid": 3,
    "guidable": True,
}


def dit_state():
    dit = LightningDiT(DiTConfig(**SIZES))
    return dict(dit.state_dict()), dict(dit.named_buffers())


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize(
    ("names", "build"),
    [
        (DIT, lambda: LightningDiT(DiTConfig(**SIZES))),
        (DECODER, lambda: RAEDecoder(DecoderConfig(6, 32, 2, 4, 48, 4, 3))),
        (SIGLIP, lambda: SiglipEncoder(EncoderConfig(12, 4, 16, 2, 2, 24))),
        (SIGLIP_WITH_HEAD, lambda: SiglipEncoder(EncoderConfig(12, 4, 16, 2, 2, 24, use_head=True))),
    ],
)
def test_our_names_written_and_read_back_are_ours(names, build):
    state = dict(build().state_dict())
    parameters, tables = names.read(names.write(state, "deep."), "deep.")
    assert equal(parameters, state)
    assert not tables


def test_sizes_are_read_from_tensors():
    parameters, buffers = dit_state()
    tables = {k: x for k, x in buffers.items() if k != "frequencies"}
    theirs = DIT.write(parameters | tables, "head.")
    assert theirs["head.feat_rope.freqs_cos"].shape == (9, 16)
    assert dit_sizes(theirs, "head.") == SIZES
    del theirs["head.x_embedder.proj.weight"]
    with pytest.raises(ValueError, match=r"missing: head\.x_embedder\.proj\.weight"):
        dit_sizes(theirs, "head.")


def test_an_optional_tensor_may_be_absent():
    parameters, _ = dit_state()
    del parameters["null_condition"]
    assert equal(DIT.read(DIT.write(parameters))[0], parameters)


def test_gaps_and_strangers_are_listed_with_their_prefix():
    theirs = DIT.write(dit_state()[0], "m.")
    del theirs["m.dit_blocks.1.attn.qkv.bias"], theirs["m.t_embedder.mlp.0.weight"]
    theirs["m.dit_blocks.1.attn.q_norm.weight"] = torch.ones(1)
    theirs["elsewhere"] = torch.ones(1)
    with pytest.raises(ValueError, match="tensors do not fit") as raised:
        DIT.read(theirs, "m.")
    assert str(raised.value) == (
        "Scale-RAE DiT: the tensors do not fit; "
        "missing: m.dit_blocks.1.attn.qkv.bias, m.t_embedder.mlp.0.weight; "
        "unexpected: m.dit_blocks.1.attn.q_norm.weight"
    )


def test_a_layer_that_is_missing_whole_is_named():
    theirs = DIT.write(dit_state()[0])
    theirs = {k: x for k, x in theirs.items() if not k.startswith("dit_blocks.1.")}
    with pytest.raises(ValueError, match=r"missing: dit_blocks\.1\.adaLN_modulation\.1\.bias"):
        DIT.read(theirs)


def test_part_of_a_stack_is_not_enough():
    decoder = RAEDecoder(DecoderConfig(6, 32, 1, 4, 48, 4, 3))
    theirs = DECODER.write(dict(decoder.state_dict()))
    del theirs["decoder_layers.0.attention.attention.key.bias"]
    with pytest.raises(ValueError, match=r"missing: decoder_layers\.0\.attention\.attention\.key\.bias"):
        DECODER.read(theirs)
