"""Text encoders from folders in the published layout: the same numbers as transformers' own, gaps refused."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.text.small_sd3 import PROMPTS, small_config, small_text
from unimm.text.published import FOLDERS, load_sd3_text, save_words
from unimm.text.sd3 import TOWERS


@pytest.fixture(scope="module")
def source():
    return small_text()


@pytest.fixture
def folder(source, tmp_path):
    """A pipeline's folder as transformers writes it."""
    from transformers import T5EncoderModel

    for name in TOWERS:
        place = tmp_path / FOLDERS[name][0]
        if name == "t5":
            model = T5EncoderModel(source.towers["t5"].encoder.config)
            model.encoder.load_state_dict(source.towers["t5"].encoder.state_dict())
        else:
            model = source.towers[name].model
        model.save_pretrained(place)
    save_words(source.words, tmp_path)
    return tmp_path


def test_a_pipelines_encoders_say_what_they_said(source, folder):
    text = load_sd3_text(folder, places=small_config(), t5_tokens=7)
    assert text.config == source.config
    for found, expected in zip(text.encode(PROMPTS), source.encode(PROMPTS), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert not any(p.requires_grad for p in text.parameters())


def test_t5s_length_is_chosen_at_loading(folder):
    text = load_sd3_text(folder, ["t5", "clip_l"], places=small_config(), t5_tokens=12)
    assert text.encode(["a star"])[0].shape == (1, 10 + 12, 32)
    assert set(text.towers) == {"t5", "clip_l"}


def test_what_is_not_in_the_folder_is_left_out(folder, source):
    (folder / "text_encoder_3").rename(folder / "elsewhere")
    text = load_sd3_text(folder, places=small_config())
    for found, expected in zip(text.encode(PROMPTS), source.encode(PROMPTS, without=["t5"]), strict=True):
        assert torch.equal(found, expected)
    with pytest.raises(FileNotFoundError, match="expected text_encoder_3"):
        load_sd3_text(folder, ["t5"], places=small_config())


def test_a_gap_and_a_surplus_are_listed(folder):
    path = folder / "text_encoder" / "model.safetensors"
    state = load_file(path)
    gone = state.pop("text_projection.weight")
    save_file({**state, "surplus": gone}, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"missing: text_projection.weight; unexpected: surplus"):
        load_sd3_text(folder, ["clip_l"], places=small_config())


def test_another_kind_of_model_is_refused(folder):
    path = folder / "text_encoder_2" / "config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "model_type": "bert"}))
    with pytest.raises(ValueError, match="expected model_type 'clip_text_model' for clip_g, got 'bert'"):
        load_sd3_text(folder, places=small_config())


def test_an_older_t5_is_refused(folder):
    path = folder / "text_encoder_3" / "config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "feed_forward_proj": "relu"}))
    with pytest.raises(ValueError, match="feed_forward_proj: expected 'gated-gelu'"):
        load_sd3_text(folder, ["t5"], places=small_config())


def test_a_folder_without_encoders_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected text_encoder, text_encoder_2, text_encoder_3"):
        load_sd3_text(tmp_path)
