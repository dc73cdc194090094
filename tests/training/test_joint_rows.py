"""Rows of the joint stage: what is seen and what is drawn have latents of their own where they differ."""

from __future__ import annotations

import pytest
import torch

from tests.model.small import BODIES, VAE, small_model, small_tokenizer
from unimm.data.order import shuffled
from unimm.data.world import Pictures
from unimm.latents.pixels import resize_pixels
from unimm.parts import IGNORED
from unimm.text.chat import ChatSettings
from unimm.text.tokenizer import encode
from unimm.training.joint import JointRecipe, TalkData, fill_codec, talk_groups, talk_rows
from unimm.training.optim import OptimRecipe, freeze_and_collect
from unimm.training.recipe import TrainRecipe


@pytest.fixture
def rows_for(tmp_path):
    def make(model, **changes):
        data = TalkData(
            Pictures(str(tmp_path / "pictures"), count=12, pixels=16),
            latents=str(tmp_path / "latents"),
            pattern=("draw", "look"),
            row_length=160,
        )
        recipe = JointRecipe(
            TrainRecipe(str(tmp_path / "run"), num_steps=1, batch_size=4, optim=OptimRecipe(lr=1e-3)),
            data,
            model.config.settings,
            tokenizer="",
            codec_run="",
            **changes,
        )
        return talk_rows(recipe, model)

    return make


@pytest.mark.parametrize("changes", [{}, {"sees_raw": True}, VAE], ids=["rae", "raw", "vae"])
def test_seen_and_drawn_latents_are_those_of_the_model(rows_for, changes):
    model = small_model(**changes)
    rows = rows_for(model)
    pixels = resize_pixels(rows.store.pixels_of(range(12)), 12)
    expected = {"seen": model.encode_image(pixels), "drawn": model.encode_target(pixels)}
    for name, latents in expected.items():
        found = getattr(rows, name)[list(range(12))]
        torch.testing.assert_close(found, latents.detach(), atol=0.05, rtol=0.01)  # bfloat16 on disk
    batch = rows.batch(0, 4)
    assert batch.context_latents.shape[-1] == 8
    assert batch.target_latents.shape[-1] == model.config.settings.dit.channels
    losses = model.training_losses(batch, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(losses.ce + losses.flow)


def test_a_raes_latents_are_kept_once(rows_for):
    rows = rows_for(small_model())
    assert rows.seen is rows.drawn


def test_rows_open_with_the_models_system_turn_and_may_be_labelled_as_published(rows_for):
    [newline] = encode(small_tokenizer(), "\n")
    model = small_model(chat=ChatSettings(system="be short"))
    plain, published = rows_for(model).batch(0, 2), rows_for(model, profile="reference").batch(0, 2)
    begin = small_tokenizer().decode(plain.input_ids[0, :20].tolist())
    assert begin.startswith("<|im_start|>system\nbe short<|im_end|>\n")
    assert torch.equal(plain.input_ids, published.input_ids)
    assert newline not in plain.labels
    assert ((published.labels == newline) == (published.input_ids == newline)).all()
    assert (published.labels[~published.attention_mask] == IGNORED).all()


@pytest.mark.parametrize(
    "changes", [{}, VAE, *({"body": name, "dit": dit} for name, dit in BODIES.items())], ids=str
)
def test_all_rooms_learn_but_those_between_latents_and_pixels(changes):
    model = small_model(**changes)
    members = freeze_and_collect({"model": model}, talk_groups(model, "muon"))
    learning = {member.name.split(".")[1] for member in members}
    assert learning == {"llm", "queries", "projector", "connector", "dit"}
    lookups = {member.name for member in members if member.group.optimizer == "adamw"}
    assert {"model.queries.weight", "model.dit.embed.weight", "model.dit.final.out.weight"} <= lookups
    assert ("model.dit.head_embed.weight" in lookups) == (changes.get("body") == "ddt")


def test_the_drawn_vae_comes_from_its_folder_and_the_encoder_from_its_run(tmp_path, monkeypatch):
    model, other = small_model(**VAE), small_model(seed=1, **VAE)
    other.drawn.tower.save_pretrained(tmp_path / "vae")
    monkeypatch.setattr("unimm.training.joint.trained", lambda run, name: getattr(other, name).state_dict())
    fill_codec(model, "run", str(tmp_path / "vae"))
    for room in ("encoder", "drawn"):
        ours, theirs = getattr(model, room).state_dict(), getattr(other, room).state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_vae_that_is_missing_or_of_no_use_is_named():
    with pytest.raises(ValueError, match="vae: expected the folder of the drawn VAE, got None"):
        fill_codec(small_model(**VAE), "run", None)
    with pytest.raises(ValueError, match="vae: expected null, as this model draws a RAE's latents, got x"):
        fill_codec(small_model(), "run", "x")


@pytest.mark.parametrize(("room", "cache"), [("encoder", "seen"), ("drawn", "drawn")])
def test_each_of_two_caches_belongs_to_the_room_that_made_it(rows_for, room, cache):
    rows_for(small_model(**VAE))
    other = small_model(**VAE)
    next(getattr(other, room).parameters()).data += 1
    with pytest.raises(ValueError, match=f"latents/{cache}: expected a cache with key="):
        rows_for(other)


def test_two_caches_are_read_for_what_they_hold(rows_for):
    rows = rows_for(small_model(**VAE))
    batch = rows.batch(0, 6)
    own = shuffled(12, rows.seed, 0, 6)
    drawn, seen = own[::2], own[1::2]  # the pattern: draw, look
    assert torch.equal(batch.context_latents, rows.seen[seen])
    assert torch.equal(batch.target_latents, rows.drawn[drawn])
