"""A published folder becomes a model: every number from the tensors, every part from where it is."""

from __future__ import annotations

import warnings

import pytest
import torch

from tests.model.published.official import (
    codec_sizes,
    make_official,
    random_model,
    recorded_codec,
    recorded_webssl,
)
from unimm.model import UniMM
from unimm.text.tokenizer import special_ids

DRAW = {"num_inference_steps": 2, "seed": 1, "output_type": "latent"}


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    return make_official(tmp_path_factory.mktemp("official"), num_shards=3)


@pytest.fixture(scope="module")
def model(official):
    return UniMM.from_pretrained(official.folder, **official.parts)


def test_every_tensor_of_the_file_is_in_the_model(official, model):
    state, block = model.state_dict(), "dit_blocks.1"
    pairs = {
        "llm.model.layers.1.mlp.up_proj.weight": official.state["model.layers.1.mlp.up_proj.weight"],
        "llm.lm_head.weight": official.state["lm_head.weight"],
        "queries.weight": official.state["model.latent_queries"],
        "projector.layers.2.bias": official.state["model.mm_projector.2.bias"],
        "connector.layers.0.weight": official.state["diff_head_projector.weight"],
        "dit.blocks.1.mlp.out.weight": official.state[f"diff_head.model.{block}.mlp.w3.weight"],
        "dit.null_condition": official.state["diff_head.model.y_embedder.dropout_embedding"],
        "decoder.out.weight": official.codec.decoder["decoder_pred.weight"],
        "encoder.layers.1.mlp.fc1.bias": official.codec.tower["vision_model.encoder.layers.1.mlp.fc1.bias"],
    }
    for name, theirs in pairs.items():
        assert torch.equal(state[name], theirs), name
    constants = sum(
        x.numel() for name, x in official.state.items() if "pos_embed" in name or "freqs_" in name
    )
    unread = sum(x.numel() for n, x in official.codec.tower.items() if "post_layernorm" in n or ".head." in n)
    decoder = official.codec.decoder
    counts = [
        sum(x.numel() for x in part.values()) for part in (official.state, official.codec.tower, decoder)
    ]
    wanted = sum(counts) - constants - unread - decoder["decoder_pos_embed"].numel()
    assert sum(p.numel() for p in model.parameters()) == wanted


def test_sizes_are_the_tensors_and_the_rest_is_the_configs(official, model):
    settings = model.config.settings
    assert settings.llm.vocab_size == official.state["lm_head.weight"].shape[0] > len(model.tokenizer)
    assert settings.llm.context == 1024
    assert settings.llm.rope_theta == 1e6
    assert settings.connector_depth == 1
    assert settings.body == "lightning"
    assert settings.sees_drawn
    assert settings.alpha == pytest.approx((settings.num_queries * settings.dit.channels / 4096) ** 0.5)
    assert model.config.scale_rae["config"] == official.values


def test_it_draws_speaks_and_verifies(model):
    drawn = model.generate_image(["two red circles", "<image> a <im_start> star"], best_of=2, **DRAW)
    assert torch.isfinite(drawn.latents).all()
    assert len(drawn.scores) == 2
    assert isinstance(model.caption(drawn.latents[0], max_new_tokens=2), str)


def test_conversations_open_with_qwens_system_turn(model):
    from unimm.model.inputs import rows_of, user

    row = rows_of(model, [[user("a")]], open_turn=True)[0]
    said = model.tokenizer.decode(row.ids)
    assert said.startswith(
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\na<|im_end|>"
    )


def test_a_typed_placeholder_is_text_and_no_picture(model):
    from unimm.model.inputs import rows_of, user

    row = rows_of(model, [[user("what does <image> mean?")]], open_turn=True)[0]
    assert not row.runs
    assert special_ids(model.tokenizer).image_slot not in row.ids
    assert "what does <image> mean?" in model.tokenizer.decode(row.ids)


@pytest.mark.parametrize("fast", [False, True])
def test_one_file_or_shards_and_either_tokenizer_are_the_same_model(official, model, tmp_path, fast):
    single = make_official(tmp_path, fast=fast)
    assert (single.folder / "model.safetensors").is_file()
    other = UniMM.from_pretrained(single.folder, **single.parts)
    assert torch.equal(other.generate_image("a", **DRAW).latents, model.generate_image("a", **DRAW).latents)


def test_a_saved_copy_is_the_same_model(model, tmp_path):
    model.save_pretrained(tmp_path / "ours")
    again = UniMM.from_pretrained(tmp_path / "ours")
    assert again.config.settings == model.config.settings
    assert again.config.scale_rae == model.config.scale_rae
    assert again.tokenizer.get_vocab() == model.tokenizer.get_vocab()
    assert torch.equal(again.generate_image("a", **DRAW).latents, model.generate_image("a", **DRAW).latents)


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("wanted", [torch.float32, torch.bfloat16])
def test_weights_come_in_the_wanted_dtype_whatever_they_are_stored_in(tmp_path, stored, wanted):
    codec = recorded_codec()
    sizes = codec_sizes(codec, statistics="token")
    made = make_official(tmp_path, state=random_model(sizes, dtype=stored))
    model = UniMM.from_pretrained(made.folder, **made.parts, dtype=wanted)
    assert {p.dtype for p in model.parameters()} == {wanted}
    assert model.statistics.mean.dtype == torch.float32
    assert torch.equal(model.statistics.std, made.state["diff_head.data_std"].float())
    assert model.dit.rope_cos.dtype == torch.float32
    assert torch.equal(model.queries.weight, made.state["model.latent_queries"].to(wanted))


def test_a_tied_head_may_be_stored_or_not(tmp_path):
    absent = make_official(tmp_path / "absent", tied=True)
    stored = dict(absent.state) | {"lm_head.weight": absent.state["model.embed_tokens.weight"].clone()}
    equal = make_official(tmp_path / "equal", tied=True, state=stored)
    for made, is_stored in ((absent, False), (equal, True)):
        model = UniMM.from_pretrained(made.folder, **made.parts)
        assert model.llm.lm_head.weight is model.llm.model.embed_tokens.weight
        assert model.config.scale_rae["stored_head"] is is_stored


def test_a_head_that_is_tied_and_another_is_told_and_the_embedding_serves(tmp_path):
    made = make_official(tmp_path, tied=True)
    other = {"lm_head.weight": made.state["model.embed_tokens.weight"] + 1}
    made = make_official(tmp_path / "other", tied=True, state=made.state | other)
    with pytest.warns(UserWarning, match="lm_head.weight is stored with other numbers than the embedding"):
        model = UniMM.from_pretrained(made.folder, **made.parts)
    assert torch.equal(model.llm.lm_head.weight, made.state["model.embed_tokens.weight"])


def test_a_model_without_null_condition_cannot_be_guided(tmp_path):
    made = make_official(tmp_path, guidable=False)
    model = UniMM.from_pretrained(made.folder, **made.parts)
    assert not model.config.settings.dit.guidable
    with pytest.raises(ValueError, match="null_condition"):
        model.generate_image("a", guidance_scale=2.0, **DRAW)


@pytest.mark.parametrize("form", ["token", "channel"])
def test_statistics_stand_between_what_is_drawn_and_what_is_seen(tmp_path, form):
    made = make_official(tmp_path, statistics=form)
    model = UniMM.from_pretrained(made.folder, **made.parts)
    mean, std = (made.state[f"diff_head.data_{x}"] for x in ("mean", "std"))
    assert model.config.settings.sees_raw
    tokens, channels = model.config.settings.num_queries, model.config.settings.dit.channels
    z = torch.randn(2, tokens, channels, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.to_seen(z), z * std + mean)


@pytest.mark.parametrize("shape", ["channel", "token"])
def test_statistics_may_stand_in_a_file_beside(tmp_path, shape):
    made = make_official(tmp_path, values={"diffusion_norm_stats_path": "/mnt/train/stats.pt"})
    channels = made.state["diff_head.model.x_embedder.proj.weight"].shape[1]
    tokens = made.state["model.latent_queries"].shape[0]
    size = (channels,) if shape == "channel" else (tokens, channels)
    mean, variance = torch.randn(size), torch.rand(size) + 0.5
    torch.save({"running_mean": mean, "running_var": variance}, made.folder / "stats.pt")
    model = UniMM.from_pretrained(made.folder, **made.parts)
    torch.testing.assert_close(model.statistics.mean, mean.expand(tokens, channels))
    torch.testing.assert_close(model.statistics.std, (variance + 1e-5).sqrt().expand(tokens, channels))
    assert model.config.settings.sees_raw


def test_a_webssl_model_keeps_its_towers_own_norm(tmp_path):
    codec = recorded_webssl()
    made = make_official(
        tmp_path, codec, values={"mm_vision_tower_aux_list": ["facebook/webssl-dino300m-full2b-224"]}
    )
    model = UniMM.from_pretrained(made.folder, **made.parts)
    assert model.config.settings.encoder.kind == "webssl"
    assert torch.equal(model.encoder.layernorm.weight, codec.tower["layernorm.weight"])
    assert model.config.settings.decoder.pixel_mean == (0.485, 0.456, 0.406)
    assert torch.isfinite(model.generate_image("a", **DRAW).latents).all()


def test_parts_beside_the_model_need_no_argument(official, model, tmp_path):
    import shutil

    folder = tmp_path / "whole"
    shutil.copytree(official.folder, folder)
    for part, place in official.parts.items():
        shutil.copytree(place, folder / part)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other = UniMM.from_pretrained(folder)
    assert torch.equal(other.generate_image("a", **DRAW).latents, model.generate_image("a", **DRAW).latents)


def test_a_device_map_is_transformers_own(official, model):
    other = UniMM.from_pretrained(official.folder, **official.parts, device_map="cpu")
    assert torch.equal(other.queries.weight, model.queries.weight)
