"""Theirs to ours and back to theirs: no bit and no field is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.model.published.official import (
    codec_sizes,
    make_official,
    random_codec,
    random_model,
    recorded_codec,
    recorded_webssl,
)
from tests.model.small import small_model, small_settings
from unimm.model import UniMM
from unimm.model.published.converting import KEPT, Options, convert
from unimm.model.verifying.calibrated import conditions_of, save_calibrations, weights_mark
from unimm.text.tokenizer import load_qwen_tokenizer
from unimm.verify.calibration import Calibration
from unimm.verify.calibrations import FILE, Calibrations

DRAW = {"num_inference_steps": 2, "seed": 1, "output_type": "latent"}


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Return every tensor of a folder's safetensors."""
    return {
        name: x for path in sorted(folder.glob("model*.safetensors")) for name, x in load_file(path).items()
    }


def same_bits(found, wanted) -> bool:
    """Return whether names, dtypes and bits are the same; bits, as NaN and -0.0 count too."""
    assert found.keys() == wanted.keys()
    return all(
        found[n].dtype == x.dtype
        and torch.equal(found[n].flatten().view(torch.uint8), x.flatten().view(torch.uint8))
        for n, x in wanted.items()
    )


def round_trip(made, tmp_path, **options):
    """Convert there and back; return the folders."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    convert(made.folder, ours, parts=made.parts, options=Options(**options))
    convert(ours, theirs, options=Options(**options))
    return ours, theirs


def check_whole(made, theirs):
    assert same_bits(tensors(theirs), made.state)
    assert json.loads((theirs / "config.json").read_text()) == made.values
    assert json.loads((theirs / "decoder" / "config.json").read_text()) == made.codec.decoder_config
    assert same_bits(torch.load(theirs / "decoder" / "model.pt"), made.codec.decoder)
    assert load_qwen_tokenizer(theirs).get_vocab() == load_qwen_tokenizer(made.folder).get_vocab()
    tower = {n: x for n, x in made.codec.tower.items() if "post_layernorm" not in n and ".head." not in n}
    assert same_bits(tensors(theirs / "vision_tower"), tower)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("statistics", "guidable"), [("none", True), ("token", False), ("channel", True)])
def test_a_round_trip_is_equal_to_the_bit(tmp_path, dtype, tied, statistics, guidable):
    sizes = codec_sizes(recorded_codec(), tied=tied, statistics=statistics, guidable=guidable)
    made = make_official(tmp_path / "from", num_shards=2, state=random_model(sizes, dtype=dtype), tied=tied)
    check_whole(made, round_trip(made, tmp_path, max_shard_bytes=100_000)[1])


def test_a_webssl_model_comes_back_too(tmp_path):
    made = make_official(tmp_path / "from", recorded_webssl())
    check_whole(made, round_trip(made, tmp_path)[1])


@pytest.mark.parametrize("other", [False, True], ids=["equal", "another"])
@pytest.mark.filterwarnings("ignore:.*lm_head:UserWarning")
def test_a_stored_head_that_is_tied_comes_back(tmp_path, other):
    made = make_official(tmp_path / "tied", tied=True)
    head = made.state["model.embed_tokens.weight"] + (1 if other else 0)
    made = make_official(tmp_path / "from", tied=True, state=made.state | {"lm_head.weight": head})
    ours, theirs = round_trip(made, tmp_path)
    check_whole(made, theirs)
    assert "llm.lm_head.weight" not in tensors(ours)


def test_constants_whose_last_bits_are_others_come_back(tmp_path):
    made = make_official(tmp_path / "first")
    table = "diff_head.model.feat_rope.freqs_sin"
    made = make_official(tmp_path / "from", state=made.state | {table: made.state[table] + 1e-7})
    ours, theirs = round_trip(made, tmp_path)
    check_whole(made, theirs)
    assert set(load_file(ours / KEPT)) == {table}


def test_constants_that_the_files_lack_are_not_added(tmp_path):
    made = make_official(tmp_path / "first")
    state = {name: x for name, x in made.state.items() if "feat_rope" not in name}
    made = make_official(tmp_path / "from", state=state)
    check_whole(made, round_trip(made, tmp_path)[1])


def test_a_statistics_file_comes_back(tmp_path):
    made = make_official(tmp_path / "from", values={"diffusion_norm_stats_path": "/mnt/train/stats.pt"})
    channels = made.state["diff_head.model.x_embedder.proj.weight"].shape[1]
    file = {"running_mean": torch.randn(channels), "running_var": torch.rand(channels)}
    torch.save(file, made.folder / "stats.pt")
    _, theirs = round_trip(made, tmp_path)
    check_whole(made, theirs)
    assert same_bits(torch.load(theirs / "stats.pt"), file)
    both = [UniMM.from_pretrained(made.folder, **made.parts), UniMM.from_pretrained(theirs)]
    assert torch.equal(*(model.statistics.std for model in both))


def test_the_converted_folder_is_the_model_that_is_read_directly(tmp_path):
    made = make_official(tmp_path / "from", num_shards=2)
    ours, theirs = round_trip(made, tmp_path)
    models = [
        UniMM.from_pretrained(made.folder, **made.parts),
        UniMM.from_pretrained(ours),
        UniMM.from_pretrained(theirs),
    ]
    drawn = [model.generate_image("a", **DRAW).latents for model in models]
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])
    assert models[0].config.settings == models[1].config.settings == models[2].config.settings


def test_a_model_trained_further_is_written_with_its_own_numbers(tmp_path):
    made = make_official(tmp_path / "from")
    model = UniMM.from_pretrained(made.folder, **made.parts)
    with torch.no_grad():
        model.connector.layers[0].weight.add_(1)
        model.statistics.set(
            torch.ones(model.statistics.mean.shape), 2 * torch.ones(model.statistics.std.shape)
        )
    model.save_pretrained(tmp_path / "ours")
    convert(tmp_path / "ours", tmp_path / "theirs")
    found = tensors(tmp_path / "theirs")
    assert torch.equal(found["diff_head_projector.weight"], made.state["diff_head_projector.weight"] + 1)
    assert torch.equal(found["diff_head.data_std"], 2 * torch.ones(model.statistics.std.shape))
    assert torch.equal(UniMM.from_pretrained(tmp_path / "theirs").statistics.mean, model.statistics.mean)


def test_parameters_are_cast_and_nothing_else(tmp_path):
    made = make_official(tmp_path / "from", codec=random_codec(16, 24), statistics="token")
    convert(made.folder, tmp_path / "half", "scale_rae", Options(torch.bfloat16), made.parts)
    found = tensors(tmp_path / "half")
    for name, x in found.items():
        constant = any(word in name for word in ("data_", "pos_embed", "freqs_"))
        assert x.dtype == (torch.float32 if constant else torch.bfloat16), name
    assert json.loads((tmp_path / "half" / "config.json").read_text())["torch_dtype"] == "bfloat16"
    decoder = torch.load(tmp_path / "half" / "decoder" / "model.pt")
    assert {x.dtype for n, x in decoder.items() if n != "decoder_pos_embed"} == {torch.bfloat16}
    assert UniMM.from_pretrained(tmp_path / "half").dtype == torch.float32


def test_calibrations_go_along_both_ways(tmp_path):
    made = make_official(tmp_path / "made")
    model = UniMM.from_pretrained(made.folder, **made.parts)
    maps = {"p_yes": Calibration("isotonic", (0.0, 1.0), (0.1, 0.9), 9, {})}
    measured = Calibrations(maps, weights_mark(model.stored_state()), conditions_of(model))
    save_calibrations(made.folder, measured)
    ours, theirs = round_trip(made, tmp_path, dtype=torch.bfloat16)
    for folder in (ours, theirs):
        assert UniMM.from_pretrained(folder).calibrations == measured
    assert FILE not in convert(made.folder, tmp_path / "again", parts=made.parts).left_out


def test_a_model_that_never_was_theirs_is_written_if_it_fits(tmp_path):
    model = small_model(connector_depth=1)
    model.save_pretrained(tmp_path / "ours")
    convert(tmp_path / "ours", tmp_path / "theirs")
    again = UniMM.from_pretrained(tmp_path / "theirs")
    assert torch.equal(again.generate_image("a", **DRAW).latents.isfinite().all(), torch.tensor(True))
    for (name, mine), (other, theirs) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        assert (name, torch.equal(mine, theirs)) == (other, True)


def test_parts_that_the_layout_has_no_place_for_are_all_listed(tmp_path):
    import dataclasses

    settings = small_settings()
    model = small_model(prediction="x", dit=dataclasses.replace(settings.dit, qk_norm=True))
    model.save_pretrained(tmp_path / "ours")
    with pytest.raises(
        ValueError, match=r"connector_depth \(expected 1, got 2\), prediction .* dit.qk_norm"
    ) as error:
        convert(tmp_path / "ours", tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()
    assert "dit.width" not in str(error.value)


def test_the_source_is_not_written_over(tmp_path):
    made = make_official(tmp_path)
    with pytest.raises(ValueError, match="expected another folder"):
        convert(made.folder, made.folder, parts=made.parts)


def test_an_unknown_layout_is_refused_with_a_suggestion(tmp_path):
    made = make_official(tmp_path)
    with pytest.raises(ValueError, match="did you mean 'scale_rae'"):
        convert(made.folder, tmp_path / "x", "scale-rae", parts=made.parts)
