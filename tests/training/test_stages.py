"""Every stage in turn, from pictures to a model that draws and answers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from PIL import Image

from tests.training.road import decoder_recipe, encoder_recipe, instruct_recipe, joint_recipe
from unimm import UniMM
from unimm.training import checkpoint
from unimm.training.codec import trained
from unimm.training.decoder import DecoderStage
from unimm.training.encoder import EncoderStage, hide_patches, sigmoid_loss
from unimm.training.instruct import InstructStage
from unimm.training.joint import JointStage
from unimm.training.log import read_metrics
from unimm.training.loop import train


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    """A folder in which all four stages ran two steps."""
    folder = tmp_path_factory.mktemp("road")
    for recipe, stage in ((encoder_recipe(folder), EncoderStage), (decoder_recipe(folder), DecoderStage)):
        train(recipe.train, stage(recipe), recipe)
    for make, stage, name in (
        (joint_recipe, JointStage, "joint"),
        (instruct_recipe, InstructStage, "instruct"),
    ):
        recipe = make(folder)
        built = stage(recipe)
        result = train(recipe.train, built, recipe)
        built.export(result.checkpoint, folder / name / "model")
    return folder


@pytest.mark.parametrize(
    ("stage", "names"),
    [
        ("encoder", {"pixels", "contrastive", "caption"}),
        ("decoder", {"pixels", "perceptual@encoder"}),
        ("joint", {"ce", "flow"}),
        ("instruct", {"ce", "flow"}),
    ],
)
def test_a_stage_records_its_losses(road, stage, names):
    records = read_metrics(road / stage)
    assert [record["step"] for record in records] == [1, 2]
    assert names <= records[0].keys()


def test_the_joint_loss_is_cross_entropy_and_twice_the_flow(road):
    for record in read_metrics(road / "joint"):
        assert record["loss"] == pytest.approx(record["ce"] + 2 * record["flow"], rel=1e-5)


def test_encoder_and_decoder_stay_what_their_stages_made(road):
    model = UniMM.from_pretrained(str(road / "instruct" / "model"))
    for name in ("encoder", "decoder", "statistics"):
        for key, value in trained(road / "decoder", name).items():
            assert torch.equal(model.state_dict()[f"{name}.{key}"], value), key


def test_every_other_room_learnt(road):
    before = UniMM.from_pretrained(str(road / "joint" / "model")).state_dict()
    after = UniMM.from_pretrained(str(road / "instruct" / "model")).state_dict()
    changed = {key.split(".")[0] for key, value in after.items() if not torch.equal(value, before[key])}
    assert changed == {"llm", "queries", "projector", "connector", "dit"}


def test_the_exported_model_draws_and_answers(road):
    model = UniMM.from_pretrained(str(road / "instruct" / "model"))
    drawn = model.generate_image("a red circle", num_inference_steps=2, best_of=2, seed=0)
    assert drawn.images[0].size == (24, 24)
    assert isinstance(model.answer(Image.new("RGB", (30, 20)), "How many circles are there?"), str)


def test_the_exported_weights_are_those_of_the_checkpoint(road):
    saved = checkpoint.averaged_state(checkpoint.latest(road / "joint"))
    model = UniMM.from_pretrained(str(road / "joint" / "model"))
    assert torch.equal(model.queries.weight, saved["model.queries.weight"])


def test_a_narrow_network_is_refused_unless_named(tmp_path):
    recipe = joint_recipe(tmp_path)
    dit = replace(recipe.model.dit, width=8)
    narrow = replace(recipe, model=replace(recipe.model, dit=dit))
    with pytest.raises(ValueError, match="dit.width: expected at least the 16 .* got 8"):
        JointStage(narrow)
    with pytest.raises(FileNotFoundError):  # past the rule: the codec's run is not there
        JointStage(replace(narrow, allow_narrow=True))


def test_hidden_patches_are_grey_and_the_others_untouched():
    pixels = torch.rand(1, 3, 4, 4)
    seen = hide_patches(pixels, 2, torch.tensor([[False, True, False, False]]))
    assert (seen[..., :2, 2:] == 0.5).all()
    assert torch.equal(seen[..., 2:, :], pixels[..., 2:, :])
    assert torch.equal(seen[..., :2, :2], pixels[..., :2, :2])


def test_the_sigmoid_loss_is_the_papers_formula():
    image, text = torch.eye(3)[:2], torch.tensor([[0.6, 0.8, 0.0], [0.0, 1.0, 0.0]])
    scale, bias = torch.tensor(2.0), torch.tensor(-1.0)
    loss = sigmoid_loss(image, text, torch.eye(2, dtype=torch.bool), scale.log(), bias)
    logits = [[2 * 0.6 - 1, -1], [2 * 0.8 - 1, 2 * 1 - 1]]
    terms = [
        torch.nn.functional.softplus(torch.tensor((-1.0 if i == j else 1.0) * logits[i][j]))
        for i in range(2)
        for j in range(2)
    ]
    assert loss.item() == pytest.approx(sum(terms).item() / 2, rel=1e-5)


def test_the_joint_stage_refuses_latents_of_other_scenes(road):
    recipe = joint_recipe(road)
    singles = replace(recipe.data.pictures, folder=str(road / "singles"), scenes="single")
    with pytest.raises(ValueError, match="latents: expected a cache with key=.*/1/single"):
        JointStage(replace(recipe, data=replace(recipe.data, pictures=singles)))
