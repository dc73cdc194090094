"""What cannot be read is refused by name, with what was expected and what to do."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.model.published.official import make_official, random_codec
from tests.model.small import small_model
from unimm.model import UniMM
from unimm.model.published.converting import convert


def load(made, **changes):
    return UniMM.from_pretrained(made.folder, **{**made.parts, **changes})


def edit(made, **changes):
    """Change fields of the config on disk; None takes one out."""
    path = made.folder / "config.json"
    values = {n: v for n, v in (json.loads(path.read_text()) | changes).items() if v is not None}
    path.write_text(json.dumps(values))


TOKENS, CHANNELS = 16, 24


@pytest.fixture
def made(tmp_path):
    return make_official(tmp_path, random_codec(TOKENS, CHANNELS))


@pytest.fixture
def sharded(tmp_path):
    return make_official(tmp_path, num_shards=3)


def test_a_half_downloaded_folder_names_every_missing_file(sharded):
    for number in (1, 3):
        (sharded.folder / f"model-{number:05d}-of-00003.safetensors").unlink()
    with pytest.raises(
        FileNotFoundError, match="none of model-00001-of-00003.safetensors, model-00003-of-00003"
    ):
        load(sharded)


def test_a_shard_that_was_cut_short_is_named(sharded):
    path = sharded.folder / "model-00002-of-00003.safetensors"
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(ValueError, match=r"cut short: model-00002-of-00003.safetensors \(\d+ of \d+ bytes\)"):
        load(sharded)


def test_a_shard_cut_inside_its_header_is_named(sharded):
    os.truncate(sharded.folder / "model-00002-of-00003.safetensors", 100)
    with pytest.raises(ValueError, match="model-00002-of-00003.safetensors: cut short inside its header"):
        load(sharded)


def test_shards_that_disagree_with_their_index_are_listed(sharded):
    index = sharded.folder / "model.safetensors.index.json"
    values = json.loads(index.read_text())
    places = values["weight_map"]
    places["model.norm.weight"] = "model-00001-of-00003.safetensors"
    places["model.extra"] = "model-00002-of-00003.safetensors"
    del places["lm_head.weight"]
    index.write_text(json.dumps(values))
    with pytest.raises(
        ValueError, match="disagreeing with the index: model.extra .*is in no file.*model.norm"
    ) as e:
        load(sharded)
    assert "not in the index: lm_head.weight" in str(e.value)


def test_a_folder_with_pickled_weights_alone_says_so(made):
    (made.folder / "model.safetensors").unlink()
    (made.folder / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(FileNotFoundError, match="there is pytorch_model.bin; .* safetensors only"):
        load(made)


def test_missing_and_unexpected_tensors_are_all_listed(made):
    path = made.folder / "model.safetensors"
    state = load_file(path)
    del state["model.latent_queries"], state["model.layers.1.self_attn.k_proj.bias"]
    save_file(state | {"model.latent_queries": torch.zeros(TOKENS, 32), "vision.x": torch.zeros(1)}, path)
    with pytest.raises(
        ValueError, match=r"missing: model.layers.1.self_attn.k_proj.bias; unexpected: vision.x"
    ):
        load(made)


def test_a_tensor_of_another_shape_than_its_like_is_named(made):
    path = made.folder / "model.safetensors"
    save_file(load_file(path) | {"model.layers.1.mlp.up_proj.weight": torch.zeros(3, 32)}, path)
    with pytest.raises(
        ValueError, match=r"1 misshapen: llm.model.layers.1.mlp.up_proj.weight \(expected \[48, 32\]"
    ):
        load(made)


def test_a_config_that_contradicts_the_tensors_names_both_numbers(made):
    edit(made, hidden_size=1536, diffusion_model_depth=32, mm_vision_tower_aux_token_len_list=[256])
    with pytest.raises(ValueError, match="hidden_size is 1536 there and 32 in the tensors") as error:
        load(made)
    for told in ("diffusion_model_depth is 32 there and 2", r"token_len_list is [256] there and [16]"):
        assert told in str(error.value)


@pytest.mark.parametrize("value", [None, "regression-loss"])
def test_a_config_without_a_diffusion_loss_is_refused(made, value):
    edit(made, vision_loss=value)
    with pytest.raises(ValueError, match='expected vision_loss .* add "vision_loss": "diffusion-loss"'):
        load(made)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "cambrian_llama"}, "expected model_type 'unimm', or 'cambrian_qwen'"),
        ({"num_attention_heads": None}, "expected a number for num_attention_heads, which no tensor tells"),
        ({"rope_theta": None}, "expected a number for rope_theta"),
        (
            {"rope_scaling": {"type": "yarn"}, "vision_loss_mode": "query-block"},
            "vision_loss_mode .* rope_scaling",
        ),
        ({"mm_projector_type": "resampler"}, "mm_projector_type"),
        ({"tie_word_embeddings": False, "num_attention_heads": 5}, "attention heads of width / heads"),
    ],
)
def test_a_config_of_another_network_is_refused(made, changes, words):
    edit(made, **changes)
    with pytest.raises(ValueError, match=words):
        load(made)


def test_an_untied_head_that_is_absent_is_missing(tmp_path):
    made = make_official(tmp_path, tied=True)
    edit(made, tie_word_embeddings=False)
    with pytest.raises(ValueError, match="missing: lm_head.weight"):
        load(made)


def test_a_decoder_of_another_encoder_is_refused(made, tmp_path):
    _, decoder = random_codec(TOKENS, 40).write(tmp_path / "other")
    with pytest.raises(
        ValueError, match="expected one for latents of 24 channels on a grid of 4, .* got one for 40"
    ):
        load(made, decoder=decoder)


def test_a_tower_of_other_latents_is_refused(made, tmp_path):
    tower, _ = random_codec(TOKENS, 40).write(tmp_path / "other")
    with pytest.raises(ValueError, match="expected latents of 24 channels, .* got a tower of width 40"):
        load(made, vision_tower=tower)


def test_a_tower_of_another_grid_is_refused(made, tmp_path):
    tower, _ = random_codec(25, CHANNELS).write(tmp_path / "other")
    with pytest.raises(ValueError, match="expected 25 tokens as the encoder gives, got 4\\^2 = 16"):
        load(made, vision_tower=tower)


def test_a_decoder_that_contradicts_itself_is_refused(made):
    path = made.parts["decoder"] / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"decoder_intermediate_size": 4096}))
    with pytest.raises(ValueError, match="decoder_intermediate_size is 4096 there and"):
        load(made)


def test_a_decoder_that_would_run_code_is_refused(made):
    torch.save({"decoder_pred.weight": Path("x")}, made.parts["decoder"] / "model.pt")
    with pytest.raises(ValueError, match=r"model\.pt: the pickle asks for pathlib"):
        load(made)


def test_a_decoder_without_its_weights_is_named(made):
    (made.parts["decoder"] / "model.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"decoder: expected model\.pt in"):
        load(made)


def test_constants_of_another_network_are_refused(tmp_path):
    made = make_official(tmp_path)
    table = "diff_head.model.feat_rope.freqs_cos"
    made = make_official(tmp_path / "other", state=made.state | {table: made.state[table] * 0.5})
    with pytest.raises(ValueError, match="differing: dit.rope_cos"):
        load(made)


def test_a_missing_statistics_file_is_named_with_what_to_do(made):
    edit(made, diffusion_norm_stats_path="/mnt/train/stats.pt")
    with pytest.raises(
        FileNotFoundError, match="/mnt/train/stats.pt.* put it there, or set the field to null"
    ):
        load(made)


def test_a_statistics_file_that_disagrees_with_the_weights_is_refused(tmp_path):
    made = make_official(tmp_path, statistics="channel", values={"diffusion_norm_stats_path": "stats.pt"})
    mean, std = (made.state[f"diff_head.data_{name}"] for name in ("mean", "std"))
    file = {"running_mean": mean, "running_var": std.square() - 1e-5}
    torch.save(file, made.folder / "stats.pt")
    load(made)
    torch.save(file | {"running_mean": mean + 1}, made.folder / "stats.pt")
    with pytest.raises(
        ValueError, match="expected the statistics of the weights, got another mean.* 1 apart"
    ):
        load(made)
    torch.save(file | {"running_var": torch.ones(3)}, made.folder / "stats.pt")
    with pytest.raises(ValueError, match="expected running_mean and running_var of one shape"):
        load(made)


def test_one_statistic_without_the_other_is_refused(tmp_path):
    made = make_official(tmp_path, statistics="token")
    state = {name: x for name, x in made.state.items() if name != "diff_head.data_std"}
    made = make_official(tmp_path / "other", state=state)
    with pytest.raises(ValueError, match="expected diff_head.data_mean and diff_head.data_std, got one"):
        load(made)


def test_a_tokenizer_larger_than_the_embedding_is_refused(made, tmp_path):
    from tests.text.qwen import write_tokenizer

    write_tokenizer(tmp_path / "large", num_pieces=176)
    with pytest.raises(ValueError, match="expected at most 180 tokens"):
        load(made, tokenizer=tmp_path / "large")


@pytest.fixture
def offline(monkeypatch):
    """Let nothing come from the hub; return what was asked for."""
    import huggingface_hub

    asked = []

    def refuse(name, **options):
        asked.append((name, options))
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    return asked


@pytest.mark.parametrize(
    ("part", "hub_id"),
    [
        ("vision_tower", "google/siglip2-so400m-patch14-224"),
        ("decoder", "nyu-visionx/siglip2_decoder"),
    ],
)
def test_a_part_that_cannot_be_had_is_named_with_its_place_and_its_argument(made, offline, part, hub_id):
    parts = {name: place for name, place in made.parts.items() if name != part}
    with pytest.raises(
        FileNotFoundError, match=rf"{part}: .*{hub_id} .* give {part}= a folder .*\(no network\)"
    ):
        UniMM.from_pretrained(made.folder, **parts, revision="v1", token="t")
    assert [name for name, _ in offline] == [hub_id]
    assert offline[0][1]["token"] == "t"
    assert "revision" not in offline[0][1]  # that is the model's


def test_a_decoder_that_nobody_names_is_asked_for(tmp_path, offline):
    made = make_official(tmp_path, values={"mm_vision_tower_aux_list": ["someone/tower-interp256"]})
    with pytest.raises(
        FileNotFoundError, match="decoder for someone/tower, and no hub id is known .* give decoder="
    ):
        UniMM.from_pretrained(made.folder, vision_tower=made.parts["vision_tower"])
    assert not offline


def test_a_given_folder_that_is_not_there_is_named(made):
    with pytest.raises(
        FileNotFoundError, match="decoder: expected a folder or a hub id; there is no folder /no/such"
    ):
        load(made, decoder="/no/such")


def test_a_hub_id_that_cannot_be_had_is_named(made, offline):
    with pytest.raises(FileNotFoundError, match=r"decoder: .* there is no folder my/decoder \(no network\)"):
        load(made, decoder="my/decoder")


def test_a_folder_without_a_config_is_told_so_whatever_is_given_with_it(made):
    (made.folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match="expected config.json in"):
        load(made)
    with pytest.raises(FileNotFoundError, match="expected config.json in"):
        convert(made.folder, made.folder.parent / "x", parts=made.parts)


def test_a_folder_without_a_tokenizer_says_what_to_do(made):
    for name in ("vocab.json", "merges.txt"):
        (made.folder / name).unlink()
    with pytest.raises(FileNotFoundError, match="found neither; fetch them, or give tokenizer= a folder"):
        load(made)


def test_parts_are_refused_where_a_folder_has_its_own(tmp_path):
    small_model().save_pretrained(tmp_path / "ours")
    with pytest.raises(ValueError, match="decoder: expected only with a published Scale-RAE model"):
        UniMM.from_pretrained(tmp_path / "ours", decoder="x")


def test_a_published_folder_is_not_quantised_on_its_way(made):
    with pytest.raises(ValueError, match="quantization_config: .* convert it first"):
        load(made, quantization_config={"load_in_8bit": True})
