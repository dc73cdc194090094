"""The joint and instruct stages on data sets: rows from files, encoded in the step or kept, and resumed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from safetensors.torch import save_file

from tests.model.small import VAE, small_model, small_tokenizer
from unimm.data.skipped import read_skipped
from unimm.data.talks import SourceSettings
from unimm.training.instruct import InstructRecipe, InstructStage, instruct_groups
from unimm.training.joint import DrawingSide, TalkData, TalkStage, fill_llm, talk_groups, talk_rows
from unimm.training.log import read_metrics
from unimm.training.loop import train
from unimm.training.optim import Optimizers, OptimRecipe, freeze_and_collect
from unimm.training.recipe import TrainRecipe
from unimm.training.stages import main

RECIPE = Path(__file__).parents[2] / "configs/train/tiny_sources_instruct.yaml"
NUM = 24
BROKEN = 5


@pytest.fixture
def llava(tmp_path):
    """Conversations about pictures, one of which is no picture, and requests to draw."""
    folder = tmp_path / "llava"
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for number in range(NUM):
        name = f"{number}.png"
        PILImage.fromarray(rng.integers(0, 256, (14, 18, 3), dtype=np.uint8)).save(folder / name)
        said = [
            {"from": "human", "value": "<image>\nWhat?"},
            {"from": "gpt", "value": "a star " * (number % 7)},
        ]
        said[1]["value"] = said[1]["value"] or "nothing"
        if number % 3 == 2:
            said = [{"from": "human", "value": "Draw a star"}, {"from": "gpt", "value": "<image>"}]
        rows.append({"id": str(number), "image": name, "conversations": said})
    (folder / f"{BROKEN}.png").write_bytes(b"no picture")
    (folder / "rows.json").write_text(json.dumps(rows))
    return folder


def recipe(tmp_path, llava, name="run", **changes) -> InstructRecipe:
    source = SourceSettings(
        str(llava / "rows.json"), format="scale_rae", images=(str(llava),), options={"cache": str(tmp_path)}
    )
    data = TalkData(sources=(source,), row_length=128)
    train_keys = {"num_steps", "prefetch", "prefetch_workers", "accumulation"} & changes.keys()
    run = TrainRecipe(
        str(tmp_path / name),
        **{"num_steps": 4, "prefetch": 0, **{key: changes.pop(key) for key in train_keys}},
        batch_size=8,
        optim=OptimRecipe(lr=1e-3),
        precision="float32",
        log_every=1,
        checkpoint_every=2,
        threads=1,
    )
    return InstructRecipe(run, replace(data, **changes), start="", matrices="adamw")


def stage(given: InstructRecipe, **model) -> TalkStage:
    built = small_model(**model)
    return TalkStage(built, talk_rows(given, built), talk_groups(built, "adamw"), 1, 2.0)


def losses(given):
    built = stage(given)
    train(given.train, built, given)
    return [(record["ce"], record["flow"]) for record in read_metrics(given.train.output)], built


def test_a_run_that_goes_on_with_other_workers_has_the_losses_of_one_that_never_stopped(tmp_path, llava):
    whole, _ = losses(recipe(tmp_path, llava))
    losses(recipe(tmp_path, llava, "cut", num_steps=2))
    resumed, _ = losses(recipe(tmp_path, llava, "cut", prefetch=3, prefetch_workers=3))
    assert resumed == whole


def test_packed_rows_have_the_losses_of_padded_ones(tmp_path, llava):
    padded, _ = losses(recipe(tmp_path, llava))
    packed, _ = losses(recipe(tmp_path, llava, "packed", packing=True))
    np.testing.assert_allclose(packed, padded, rtol=1e-4)


def test_what_cannot_be_used_is_counted_and_listed(tmp_path, llava):
    given = recipe(tmp_path, llava, num_steps=6)
    _, built = losses(given)
    told = read_skipped(given.train.output)
    assert {line["key"].rpartition(":")[2] for line in told} == {str(BROKEN)}
    assert {line["kind"] for line in told} == {"picture"}
    positions = {line["position"] for line in told}
    assert built.counts() == {"skipped_samples": len(positions), "cut_samples": 0}
    assert read_metrics(given.train.output)[-1]["skipped_samples"] == len(positions)


@pytest.mark.parametrize("kind", ["bf16", "int8"])
@pytest.mark.parametrize("model", [{}, VAE], ids=["rae", "vae"])
def test_kept_latents_are_those_of_the_encoder(tmp_path, llava, kind, model):
    fresh = stage(recipe(tmp_path, llava), **model)
    kept = stage(recipe(tmp_path, llava, latents=str(tmp_path / "kept"), latents_kind=kind), **model)
    for start in (0, 16):
        ours, theirs = (each.rows.ready(each.batch(start, 16)) for each in (kept, fresh))
        assert torch.equal(ours.input_ids, theirs.input_ids)
        for name in ("context_latents", "target_latents"):
            found, expected = getattr(ours, name), getattr(theirs, name)
            assert (found - expected).norm() < 0.02 * expected.norm()
    assert kept.batch(0, 8).context_pixels is None


def test_kept_latents_of_other_weights_or_data_are_refused(tmp_path, llava):
    given = recipe(tmp_path, llava, latents=str(tmp_path / "kept"))
    stage(given)
    with pytest.raises(ValueError, match="expected a cache with key="):
        stage(given, seed=1)
    rows = json.loads((llava / "rows.json").read_text())
    (llava / "fewer.json").write_text(json.dumps(rows[:9]))
    fewer = replace(given.data.sources[0], path=str(llava / "fewer.json"))
    with pytest.raises(ValueError, match="expected latents of these sources"):
        stage(replace(given, data=replace(given.data, sources=(fewer,))))
    otherwise = replace(given.data.sources[0], options={"unmarked": "first"})
    with pytest.raises(ValueError, match="expected latents of these sources"):
        stage(replace(given, data=replace(given.data, sources=(otherwise,))))


def test_a_batch_without_pictures_goes_every_way_into_the_encoder(tmp_path, llava):
    rows = [
        {"id": "1", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}
    ]
    (llava / "rows.json").write_text(json.dumps(rows * 9))
    built, calls = stage(recipe(tmp_path, llava)), []
    built.model.encoder.register_forward_hook(lambda *_: calls.append(1))
    patched = built.model.encoder.encode
    built.model.encoder.encode = lambda pixels: calls.append(2) or patched(pixels)
    found = built.step(built.batch(0, 4), torch.Generator().manual_seed(0))
    assert calls.count(2) == 2
    assert torch.isfinite(found["loss"])
    assert float(found["flow"].detach()) == 0


def test_amounts_are_tokens_and_pictures(tmp_path, llava):
    padded, packed = (stage(recipe(tmp_path, llava, packing=is_packed)) for is_packed in (False, True))
    batches = [each.batch(0, 8) for each in (padded, packed)]
    assert padded.amounts(batches[0]) == packed.amounts(batches[1])
    assert padded.amounts(batches[0])["images"] == 8
    assert padded.amounts(batches[0])["tokens"] == batches[0].facts["tokens"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"pictures": None, "sources": ()}, "expected either pictures .* got neither"),
        ({"row_length": 0}, "row_length: expected 1 or more"),
        ({"row_length": 10_000}, r"row_length: expected at most 160 \(llm.context\), got 10000"),
        ({"latents": "x", "latents_kind": "int4"}, "data.latents_kind: expected .* got 'int4'"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path, llava, changes, told):
    with pytest.raises(ValueError, match=told):
        stage(recipe(tmp_path, llava, **changes))


def test_the_instruct_stage_reads_sources(tmp_path, llava):
    model = small_model()
    model.tokenizer = small_tokenizer()
    model.save_pretrained(tmp_path / "start")
    given = replace(recipe(tmp_path, llava, num_steps=1, packing=True), start=str(tmp_path / "start"))
    train(given.train, InstructStage(given), given)
    assert read_metrics(given.train.output)[0]["loss"] > 0


def test_the_recipe_for_tiny_runs(tmp_path, llava):
    where = f"data.sources=[{{path: {llava / 'rows.json'}, format: scale_rae, images: ['{llava}'], "
    where += f"options: {{cache: '{tmp_path}'}}}}]"
    changes = ("train.num_steps=1", "train.batch_size=6", "train.threads=1", "noise_draws=1", where)
    main("instruct", [str(RECIPE), f"train.output={tmp_path / 'run'}", *changes])
    [record] = read_metrics(tmp_path / "run")
    assert record["loss"] > 0
    assert record["tokens_per_second"] > 0
    assert (tmp_path / "run" / "model" / "config.json").is_file()


def test_the_projector_may_learn_alone(tmp_path, llava):
    model = small_model()
    given = replace(recipe(tmp_path, llava), trains="projector")
    learning = {
        member.name.split(".")[1]
        for member in freeze_and_collect({"model": model}, instruct_groups(model, given))
    }
    assert learning == {"projector"}
    with pytest.raises(ValueError, match="trains.*did you mean 'projector'"):
        replace(given, trains="projektor")


def test_the_dit_may_have_a_rate_and_betas_of_its_own():
    model, side = small_model(), DrawingSide(10.0, (0.9, 0.95))
    members = freeze_and_collect({"model": model}, talk_groups(model, "adamw", side))
    optim = OptimRecipe(lr=1e-3, betas=(0.9, 0.999))
    groups = Optimizers(members, optim).all["adamw"].param_groups
    of = {id(p): (group["lr"], group["betas"]) for group in groups for p in group["params"]}
    for member in members:
        is_dit = member.name.startswith("model.dit.")
        assert of[id(member.parameter)] == ((1e-2, (0.9, 0.95)) if is_dit else (1e-3, (0.9, 0.999)))


def test_a_published_language_model_fills_ours_but_for_rows_beyond_its_vocabulary(tmp_path):
    ours, theirs = small_model().llm, small_model(seed=1).llm
    wider = torch.nn.Embedding(320, 16)
    wider.weight.data[:300] = theirs.model.embed_tokens.weight.data
    state = {**theirs.state_dict(), "model.embed_tokens.weight": wider.weight.detach()}
    state.pop("lm_head.weight")
    save_file({name: x.contiguous() for name, x in state.items()}, tmp_path / "model.safetensors")
    fill_llm(ours, str(tmp_path))
    for name, x in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], x), name
    del state["model.norm.weight"]
    save_file({name: x.contiguous() for name, x in state.items()}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="model.norm.weight"):
        fill_llm(ours, str(tmp_path))
