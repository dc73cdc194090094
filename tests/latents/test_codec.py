"""Encoder and decoder: contracts, and agreement with transformers' own tower."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from unimm.latents import DecoderConfig, EncoderConfig, RAEDecoder, SiglipEncoder, build_encoder
from unimm.latents.attention import attend
from unimm.latents.decoder import resize_latents

ENCODER = EncoderConfig(image_size=20, patch_size=4, width=16, depth=2, heads=2, mlp_width=24)
DECODER = DecoderConfig(channels=16, width=24, depth=2, heads=2, mlp_width=32, patch_size=8, grid=5)


def pixels(batch=2, size=20):
    return torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_raw_latents_have_mean_zero_and_variance_one():
    z = build_encoder(ENCODER).encode(pixels())
    assert z.shape == (2, 25, 16)
    torch.testing.assert_close(z.mean(-1), torch.zeros(2, 25), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.var(-1, unbiased=False), torch.ones(2, 25), atol=1e-3, rtol=0)


def test_the_encoder_agrees_with_the_tower_of_transformers():
    from transformers import SiglipVisionConfig, SiglipVisionModel

    config = SiglipVisionConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=20,
        patch_size=4,
    )
    tower = SiglipVisionModel(config).eval()
    torch.nn.init.ones_(tower.post_layernorm.weight)
    torch.nn.init.zeros_(tower.post_layernorm.bias)
    encoder = SiglipEncoder(ENCODER).eval()
    names = {k: v for k, v in tower.state_dict().items() if k.startswith(("embeddings.", "encoder."))}
    encoder.load_state_dict({k.removeprefix("encoder."): v for k, v in names.items()})
    with torch.no_grad():
        wanted = tower(pixels() * 2 - 1).last_hidden_state
        torch.testing.assert_close(encoder.encode(pixels()), wanted, atol=1e-5, rtol=1e-5)


def test_our_own_encoder_has_no_parameter_without_a_gradient():
    encoder = SiglipEncoder(ENCODER)
    encoder.encode(pixels()).square().mul(torch.randn(16)).sum().backward()
    without = {n for n, p in encoder.named_parameters() if p.grad is None}
    assert not without
    assert not any(name.startswith(("head", "post_layernorm")) for name in encoder.state_dict())


def test_the_head_of_a_published_tower_is_kept_on_request_and_not_used():
    encoder = SiglipEncoder(dataclasses.replace(ENCODER, use_head=True))
    assert {"post_layernorm.weight", "head.probe"} <= encoder.state_dict().keys()
    before = encoder.encode(pixels())
    torch.nn.init.zeros_(encoder.post_layernorm.weight)
    assert torch.equal(encoder.encode(pixels()), before)


def test_an_unknown_kind_suggests_the_nearest():
    with pytest.raises(ValueError, match="got 'siglip'; did you mean 'siglip2'"):
        build_encoder(dataclasses.replace(ENCODER, kind="siglip"))


def test_the_doors_refuse_other_sizes():
    with pytest.raises(ValueError, match="pixels: .* with Hp=20, got 24"):
        SiglipEncoder(ENCODER).encode(pixels(size=24))
    with pytest.raises(ValueError, match="latents: .* with N=25, got 16"):
        RAEDecoder(DECODER)(torch.zeros(1, 16, 16))


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: dataclasses.replace(ENCODER, heads=3), "encoder.width: expected a multiple of heads = 3"),
        (lambda: dataclasses.replace(ENCODER, patch_size=21), "encoder.patch_size"),
        (lambda: dataclasses.replace(ENCODER, depth=0), "encoder.depth"),
        (lambda: dataclasses.replace(DECODER, width=26), "decoder.width: expected a multiple of 4"),
        (lambda: dataclasses.replace(DECODER, grid=0), "decoder.grid"),
    ],
)
def test_configs_refuse_what_cannot_be_built(build, said):
    with pytest.raises(ValueError, match=said):
        build()


def test_the_decoder_draws_each_token_in_its_place():
    decoder = RAEDecoder(DECODER)
    patches = torch.zeros(1, 25, 8, 8, 3)
    patches[0, 7, 2, 3, 1] = 1  # token 7 is row 1, column 2
    drawn = decoder.unpatchify(patches.flatten(2))
    assert drawn.nonzero().tolist() == [[0, 1, 8 + 2, 16 + 3]]


def test_the_decoder_may_double_the_encoder_and_decode_clamps():
    decoder = RAEDecoder(DECODER)
    z = 30 * torch.randn(2, 25, 16, generator=torch.Generator().manual_seed(0))
    free, shown = decoder(z), decoder.decode(z)
    assert free.shape == (2, 3, 40, 40)
    assert free.min() < 0
    assert shown.min() == 0
    assert shown.max() <= 1


def test_every_parameter_of_the_decoder_trains():
    decoder = RAEDecoder(DECODER)
    decoder(torch.randn(2, 25, 16)).square().sum().backward()
    assert not [n for n, p in decoder.named_parameters() if p.grad is None or not p.grad.any()]


def test_tables_survive_the_meta_device_and_bfloat16():
    reference = RAEDecoder(DECODER)
    with torch.device("meta"):
        decoder, encoder = RAEDecoder(DECODER), SiglipEncoder(ENCODER)
    decoder.to_empty(device="cpu").load_state_dict(reference.state_dict())
    encoder.to_empty(device="cpu").reset_tables()
    z = torch.randn(1, 25, 16)
    assert torch.equal(decoder(z), reference(z))
    assert decoder.to(torch.bfloat16).positions.dtype == torch.float32
    assert encoder.embeddings.position_ids.tolist() == [list(range(25))]
    assert decoder(z).dtype == torch.float32  # pixels are float32 whatever computed them


def test_both_compile_to_one_graph():
    encoder, decoder = SiglipEncoder(ENCODER), RAEDecoder(DECODER)
    road = torch.compile(lambda x: decoder(encoder.encode(x)), fullgraph=True, backend="eager")
    torch.testing.assert_close(road(pixels()), decoder(encoder.encode(pixels())))


def test_training_and_inference_attend_alike():
    q, k, v = torch.randn(3, 2, 4, 9, 8, generator=torch.Generator().manual_seed(0))
    resting = attend(q, k, v)
    torch.testing.assert_close(attend(q.requires_grad_(), k, v), resting, atol=1e-5, rtol=1e-5)


def test_latents_of_another_grid_are_resampled_on_request():
    z = torch.ones(2, 16, 3) * torch.arange(3)
    torch.testing.assert_close(resize_latents(z, 5), torch.ones(2, 25, 3) * torch.arange(3))
    rows = torch.arange(4.0).repeat_interleave(4).reshape(1, 16, 1)
    assert resize_latents(rows, 2).flatten().tolist() == [0.5, 0.5, 2.5, 2.5]
